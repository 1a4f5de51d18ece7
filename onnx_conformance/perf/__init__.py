"""Speed: latency, the gate, versions and variants. Only what passed its checks is timed.

``options`` has the options of timing and of the gate. ``latency`` times contenders side by side,
``gate`` a candidate beside its baseline. ``variant_choice`` and ``version_comparison`` join what
certified with what timed, ``versions_document`` answers, ``…_page`` draws.
"""
