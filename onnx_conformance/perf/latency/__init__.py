"""Native against ONNX Runtime, interleaved, in processes of their own.

1. ``row_requests``: which rows a run times, from its cases: ``contenders`` at batch sizes.
2. ``bench`` measures a group when its first row is asked for. Each case must hold a certificate
   (``certification``).
3. Each contender is opened in a process that is suspended while others are measured
   (``timed_sessions``, ``suspended_worker``). The answer of the very call that is timed is judged
   (``timed_call``), and the call repeated until its times have settled.
4. All have one block a round, in an order drawn anew (``interleave``); rounds pair their times
   (``ratios``).
5. The rows (``timing_rows``) become one document (``latency_document``), which table, page and
   report show (``latency_table``, ``latency_page``, ``latency_report``); ``pytest_benchmark``
   plays the times back to that plugin.
"""
