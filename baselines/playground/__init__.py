"""The playground: a person recommends, or is the user, on a page of this machine's own. ``python -m recgym play``.

controls.py   the parameters of a world as controls, with their sentences and ranges
person.py     parts of a world that answer with what a person decides
agents.py     who plays beside the person, or recommends to one
game.py       a session: one user, and what the page is told
words.py      words for what an observation shows
server.py     the server of the page, on 127.0.0.1 alone
static/       the page
"""
