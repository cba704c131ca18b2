"""Provide what all rooms use: files, optional packages, processes, figures, pages.

Nothing here depends on CTs or stages. In: paths, callables, names of packages. Out: files that are complete or absent,
results from other processes, errors that name the package to install.

- `files`: `new_folder`, `replace_files`, `atomic_file`, `flush_folder`, `give_usual_mode`, `read_json`, `parse_json`,
  `write_json`, `sha256_of`
- `addresses`: `WebAddress`, `DimseAddress`, `parse_web_address`, `parse_store_address`
- `detached`: `read_text_header`, `data_files`, `file_within`
- `fields`: `Fields`, `is_number`, `shown`
- `folders`: `user_folder`, `cache_folder`
- `extras`: `import_extra`
- `given`: `require_type`, `given_path`
- `distributions`: `softmax`, `wrong_shares`, `wrong_sums`
- `counts`: `counted`
- `shared_text`: `without_folders`, `with_file_numbers`, `without_identifiers`, `shared_error`
- `pools`: `parallel_map`
- `folder_lock`: `locked_folder`
- `isolation`: `IsolatedProcess`, `DiedError`, `Limits`, `error_text`
- `figures`: `new_figure`, `write_figure`, `figure_bytes`, `fonts_for`
- `pages`: `template`, `alarms`, `moment`, `policy`, `resource`
"""
