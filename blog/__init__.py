"""The blog: a hexo site (this folder is its root) and the Python that turns a finished run into a post.

run_folder.py   reads a run folder           text.py      makes untrusted text safe
sections.py     the parts of a post          examples.py  gold and predicted labels, coloured
front_matter.py a post's head                post.py      writes or renews the post
site.py         builds and serves the site   check.py     says what is wrong with it, and the mend
tasks.py        the commands

Nothing here imports `seqlab`'s algorithms: a post comes from the run folder alone.
"""
