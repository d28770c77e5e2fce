"""Tagging sentences: parts of speech, names, word segmentation.

    tagger = Tagger(c2=0.1).fit(sentences, tags)    # lists of words, lists of tags
    tagger.predict([["我", "喜欢", "银行"]])          # [["PRON", "VERB", "NOUN"]]
    tagger.save("pos.safetensors")

Three kinds of emissions under one linear-chain CRF: hand features as CRFsuite has them, a BiLSTM over the same
features, or any encoder. The pieces, in the order in which a sentence passes them: `features` (tokens to strings),
`attributes` (strings to a sparse matrix), `sparse` (its products), `linear` with `lbfgs`, `recurrent` and `encoder`
with `training` (the models), `scores` (the chain), `tagger` (the API), `storage` (its file).
"""

from seqlab.tagging.encoder import EncoderSettings, TransformersEncoder
from seqlab.tagging.features import character_features, word_features
from seqlab.tagging.linear import LinearSettings
from seqlab.tagging.recurrent import BiLstmSettings
from seqlab.tagging.segmentation import bmes_tags, join_words
from seqlab.tagging.tagger import Tagger, Weight

__all__ = [
    "BiLstmSettings",
    "EncoderSettings",
    "LinearSettings",
    "Tagger",
    "TransformersEncoder",
    "Weight",
    "bmes_tags",
    "character_features",
    "join_words",
    "word_features",
]
