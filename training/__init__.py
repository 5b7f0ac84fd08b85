"""Learning: corpus, manifest, features, training, evaluation, export. May import `app`; `app` never imports this."""
