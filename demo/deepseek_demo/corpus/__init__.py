"""Real English and Chinese text for the demo and the tests: from Debian's packages to raw objects.

`build_corpus` makes the objects once per version of the packages, `upload` puts them into a bucket.
"""

from deepseek_demo.corpus.build import Corpus, build_corpus
from deepseek_demo.corpus.upload import upload

__all__ = ["Corpus", "build_corpus", "upload"]
