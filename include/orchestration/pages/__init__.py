"""What pages for people share: `theme` (colours, Jinja), `svg_charts`, `lazy_app` (made at the first request).

The pages are in the folder of what they show: `progress_page`, `freshness`, `gate_history`, `daily_report`, `reconcile`.
"""
