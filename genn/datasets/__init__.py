"""The public data sets behind the suite: readers of the official formats that trust nothing in the files.

One module a set, each with one ``read_*`` function that takes a data folder and returns plain arrays with the official
(or a subject-, speaker- or patient-wise) split.  A data folder holds a set's files themselves, a folder named after the
set, or its archive (``genn.datasets.folder``).  ``genn data NAME`` fetches them (``genn.datasets.sources``).
"""
