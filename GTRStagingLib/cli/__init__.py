"""Parse the command line and call the library.

In: arguments. Out: files, text on stdout and stderr, an exit code. `--help` imports no large package.

- `main`: `main`
- `supervise`: `run_child`
- `arguments`: `staging_options`, `with_flags`
- `stage`: `add_to`
- `profile`: `add_to`
- `models`: `add_to`
- `calibrate`: `add_to`
- `familiarity`: `add_to`
- `proposal`: `add_to`
- `phantom`: `add_to`
- `batch`: `add_to`
- `cohort`: `add_to`
- `read_sr`: `add_to`
- `send`: `add_to`
- `listen`: `add_to`
- `reading`: `add_to`
- `evaluate`: `add_to`
- `monitor`: `add_to`
- `nomogram`: `add_to`
- `radscore`: `add_to`
- `train`: `add_to`
"""
