"""Serve every other room: files, optional packages, processes, pages.

Nothing here knows what a CT or a stage is. In: paths, callables, names of packages. Out: files that are whole or
absent, results of work done in other processes, refusals that name what to install.

- `files`: `new_folder`, `replace_files`, `atomic_file`, `read_json`, `write_json`, `sha256_of`
- `folders`: `user_folder`, `cache_folder`
- `extras`: `import_extra`
- `distributions`: `softmax`, `wrong_shares`, `wrong_sums`
- `pools`: `parallel_map`
- `isolation`: `Isolated`, `DiedError`
- `figures`: `new_figure`, `write_figure`, `figure_bytes`
- `pages`: `template`, `policy`, `resource`
"""
