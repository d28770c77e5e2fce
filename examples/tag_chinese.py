"""Cut Chinese text into words, and tell their parts of speech, with conditional random fields on hand features.

Segmentation is tagging: every character begins a word (B), goes on with it (M), ends it (E) or is one (S). Ten
sentences are enough to see how it works; docs/tagging.md has figures for real data.
"""

import tempfile
from pathlib import Path

from seqlab.tagging import Tagger, bmes_tags, character_features, join_words

TEXT = """
我/PRON 喜欢/VERB 图书馆/NOUN
他/PRON 喜欢/VERB 北京/PROPN
我们/PRON 在/ADP 图书馆/NOUN 看/VERB 书/NOUN
他们/PRON 在/ADP 北京/PROPN 工作/VERB
她/PRON 看/VERB 电影/NOUN
我/PRON 在/ADP 上海/PROPN 看/VERB 电影/NOUN
他/PRON 喜欢/VERB 看/VERB 书/NOUN
我们/PRON 喜欢/VERB 上海/PROPN
她/PRON 在/ADP 学校/NOUN 工作/VERB
他们/PRON 喜欢/VERB 学校/NOUN
"""
pairs = [[word.split("/") for word in line.split()] for line in TEXT.split("\n") if line]
words = [[word for word, _ in line] for line in pairs]
parts = [[part for _, part in line] for line in pairs]

segmenter = Tagger(features=character_features, constrained=True)
segmenter.fit(["".join(line) for line in words], [bmes_tags(line) for line in words])
tagger = Tagger().fit(words, parts)

new = "她们在上海看书"
found = join_words(new, segmenter.predict([new])[0])
print(" ".join(f"{word}/{part}" for word, part in zip(found, tagger.predict([found])[0], strict=True)))
for word, probabilities in zip(found, tagger.predict_marginals([found])[0], strict=True):
    part = max(probabilities, key=lambda name: probabilities[name])
    print(f"{word}: {part} with probability {probabilities[part]:.2f}")

print("what speaks for a verb:", ", ".join(f"{w.source} ({w.weight:+.2f})" for w in tagger.top_features(4, "VERB")))
print("what follows what:", ", ".join(f"{w.source} → {w.tag} ({w.weight:+.2f})" for w in tagger.top_transitions(3)))

with tempfile.TemporaryDirectory() as folder:
    again = Tagger.load(tagger.save(Path(folder) / "词性.safetensors"))
    assert again.predict([found]) == tagger.predict([found])

assert found == ["她们", "在", "上海", "看", "书"]
assert tagger.predict([found])[0] == ["PRON", "ADP", "PROPN", "VERB", "NOUN"]
