"""Fuzzer of the readers: altered files, read by the library and by independent readers.

- `bases`: small valid files of every format, from one synthetic CT.
- `alterations`: damage to bytes, fields and folders.
- `traits`: inputs with one trait that public bug reports name, shared with the soak test.
- `inputs`: input number i of a seed.
- `oracle`: what an input contains, by independent readers.
- `trial`: the reading in a process of its own, and its verdict.

`python -m fuzz` in `Testing` runs it; `make fuzz` runs 20,000 inputs.
"""
