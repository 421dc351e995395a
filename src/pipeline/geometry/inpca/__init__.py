"""InPCA: embeddings of models in Minkowski space, whole and out of core.

Source: Quinn et al., PNAS 116(28), 2019; Mao et al., PNAS 121(12), 2024.
"""

from pipeline.geometry.inpca.alignment import Alignment, align
from pipeline.geometry.inpca.comparison import explained_distances, pca
from pipeline.geometry.inpca.embedding import Embedding, embed
from pipeline.geometry.inpca.four_points import four_point_embedding
from pipeline.geometry.inpca.krylov import embed_tiles

__all__ = [
    "Alignment",
    "Embedding",
    "align",
    "embed",
    "embed_tiles",
    "explained_distances",
    "four_point_embedding",
    "pca",
]
