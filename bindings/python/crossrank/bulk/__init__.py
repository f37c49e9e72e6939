"""crossrank.bulk: scores for Parquet files of any number, on this machine, on
Spark or on Ray.

    python -m crossrank.bulk --engine local|spark|ray IN OUT

A run is many *parts*, each some rows of one file of IN. An engine hands parts
to *workers*, processes that opened the model once; a worker reads its part's
rows, scores them and leaves one file in OUT, which appears there whole or not
at all. So a part can be scored twice, by a worker whose engine believed it to
be dead, and still is there once; and what is there need not be scored again.

The modules: _job says what a run is, _files where its files are, _run begins,
resumes and ends it, _score is a worker, _local, _spark and _ray are engines.
"""
