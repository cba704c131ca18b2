"""Watch finished batches over time: compare the stream of their cases with a reference by control charts.

Input: output folders of batches, and a model or an earlier batch. Output: `Watch`, monitor.html, monitor.csv and
monitor.json.

- `stream`: `Stream`, `ObservedCase`, `read_stream`, `read_outcomes`
- `measures`: `Measure`, `Baseline`, `expected_of_batch`, `expected_of_model`
- `watch`: `Watch`, `WatchedMeasure`, `Period`, `watch`
- `charts`: `chart_figure`
- `page`: `write_watch`
"""
