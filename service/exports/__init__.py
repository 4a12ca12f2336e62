"""Light curves as other brokers and archives export them: a file in any of their formats -> points by object.

`read_export` recognises the format by what the file holds. `formats.py` says how each names its columns and where that
is documented, `documents.py` takes apart nested JSON, `files.py` reads the kinds of file, `rows.py` makes points.
"""

from service.exports.read import Export, read_export
from service.exports.rows import SkippedRow
from service.exports.sheet import ExportError, WrongFileError

__all__ = ["Export", "ExportError", "SkippedRow", "WrongFileError", "read_export"]
