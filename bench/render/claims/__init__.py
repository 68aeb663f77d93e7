"""Published claims on efficiency and accuracy, each tested on the records of a run.

claim      what a claim is, and the verdict from its parts;  ruling: all of them, and claims.csv
setting    the networks of one input size: 224×224, which most claims are about, and 32×32
claims.csv the claims;  lecture, canziani, tutorials: their tests, by author
"""

from bench.render.claims.claim import NOT_MEASURED
from bench.render.claims.ruling import Ruling, rulings, summary, worth_showing, write_claims_csv

__all__ = ["NOT_MEASURED", "Ruling", "rulings", "summary", "worth_showing", "write_claims_csv"]
