"""Finished models in the object store, as every tool of the field reads them.

    exports/sha256-<hex>/manifest.json           the publication: files, checksums, provenance, evaluation
    exports/sha256-<hex>/{config.json, model*.safetensors, tokenizer.json, ...}   a Hugging Face folder

The digest of an export is the sha256 of its manifest. Training knows when to export, `store.log` records it.
"""
