"""Steps as pods: the jobs that run them, why one died, their logs, what they leave behind.

`kubernetes` and `boto3` are imported where they are used, so that a laptop's run pays for neither. Manifests are plain
JSON values, as the API serves them: what to do is decided purely, then done.
"""
