"""What the suite finds: the fault corpus under the suite as users run it, and under other rules.

``python -m studies.detection`` prints the table and writes it as JSON and Markdown.
"""
