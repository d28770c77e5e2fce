"""Parts of speech by a hidden Markov model: counted from tagged sentences, then improved with untagged ones.

The states are parts of speech, the symbols words. From a few tagged sentences the probabilities are counted with
additive smoothing; a sentence with an unknown tag here and there still helps (semi-supervised training).
"""

import numpy as np

from seqlab.hmm import CategoricalHMM

TAGS = ["代词", "动词", "名词"]
TAGGED = [
    [("我", "代词"), ("看", "动词"), ("书", "名词")],
    [("你", "代词"), ("吃", "动词"), ("鱼", "名词")],
    [("狗", "名词"), ("吃", "动词"), ("鱼", "名词")],
    [("我", "代词"), ("爱", "动词"), ("狗", "名词")],
    [("你", "代词"), ("爱", "动词"), ("书", "名词")],
    [("狗", "名词"), ("看", "动词"), ("你", "代词")],
    [("我", "代词"), ("吃", "动词"), ("鱼", "名词")],
    [("狗", "名词"), ("爱", "动词"), ("我", "代词")],
    [("你", "代词"), ("看", "动词"), ("鱼", "名词")],
    [("我", "代词"), ("看", "动词"), ("你", "代词")],
]
words = sorted({word for sentence in TAGGED for word, _ in sentence})
X = [words.index(word) for sentence in TAGGED for word, _ in sentence]
states = np.array([TAGS.index(tag) for sentence in TAGGED for _, tag in sentence])
lengths = [len(sentence) for sentence in TAGGED]

model = CategoricalHMM(len(TAGS), n_features=len(words)).fit_supervised(X, states, lengths, smoothing=0.1)
sentence = ["你", "看", "狗"]
symbols = [words.index(word) for word in sentence]
found = [TAGS[state] for state in model.predict(symbols)]
print(" ".join(f"{word}/{tag}" for word, tag in zip(sentence, found, strict=True)))
assert found == ["代词", "动词", "名词"]

best = model.decode_k_best(symbols, k=3)
for log_probability, path in zip(best.log_prob[:, 0], best.states, strict=True):
    print(f"{log_probability:8.3f}  {' '.join(TAGS[state] for state in path)}")
assert best.log_prob[0, 0] >= best.log_prob[1, 0] >= best.log_prob[2, 0]

partly = np.where(np.arange(len(states)) % 4 == 3, -1, states)  # every fourth tag is unknown
again = CategoricalHMM(len(TAGS), n_features=len(words), random_state=0).fit(X, lengths, states=partly)
assert [TAGS[state] for state in again.predict(symbols)] == found
