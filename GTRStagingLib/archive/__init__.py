"""Read CTs from archives, and send results to them: DICOMweb and the DICOM network.

Messages contain no UIDs, no credentials and no patient data.

- `web`: `WebArchive`
- `web_errors`: `RefusedError`, `explained`, `refused`
- `remote_series`: `read_remote`, `states_of`
- `outbox`: `Outbox`, `Entry`, `read_outbox`
- `dimse`: `DimseSender`
- `sending`: `send_folder`, `own_objects`, `Sent`, `UnsendableError`
- `contents`: `contents_of`, `Contents`
- `spool`: `Spool`, `Study`, `FullError`
- `listener`: `Listener`, `ListenSettings`
"""
