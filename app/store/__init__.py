"""The model store: versions, their manifests and files, local or remote."""
