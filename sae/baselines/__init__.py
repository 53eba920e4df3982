"""Dictionaries that no gradient learns, to compare learned ones with; one a file. The imports are registry content.

    params = pca.fit(size, hyper, generator, rows)     # rows in training units
    dictionary = sae.Dictionary.trained(pca, params, hyper=hyper, scaling=scaling, config={})

Static truncation of PCA or ICA is a smaller width. For as many active features as a trained dictionary has, set k to
its L0. Codes may be negative: a feature fires where its code is not zero.
"""

from .ica import ICA
from .identity import Identity, IdentityReLU
from .kmeans import KMeans
from .nmf import NMF
from .pca import PCA
from .random import Random

__all__ = ["ICA", "NMF", "PCA", "Identity", "IdentityReLU", "KMeans", "Random"]
