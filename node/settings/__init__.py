"""What a node is told, and what of it is refused.

Reading order: `config` (all settings of a node as one value, and what follows from them), `checks`
(the limits of each setting, and how settings have to fit together), `users`
(who may use the cache).
"""
