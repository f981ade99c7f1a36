//! What `pinfold setup` keeps for its user, in the user's part of the registry: passwords of
//! the sandbox accounts, sealed by the data protection interface, and the port of the proxy.

use std::ptr::{null, null_mut};

use pinfold_policy::plan::windows::{OFFLINE, PROXY};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_GEN_FAILURE, ERROR_INVALID_DATA, ERROR_SUCCESS,
};
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom, CRYPT_INTEGER_BLOB,
    CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData, CryptUnprotectData,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, REG_BINARY, REG_DWORD, RRF_RT_REG_BINARY,
    RRF_RT_REG_DWORD, RegDeleteKeyValueW, RegDeleteTreeW, RegGetValueW, RegSetKeyValueW,
};

use super::call::{Local, Number, Outcome, done, wide};

const KEY: &str = r"Software\pinfold";
const PORT: &str = "ProxyPort";

/// Where the sign-in screen looks for accounts that it does not offer.
const HIDDEN: &str =
    r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon\SpecialAccounts\UserList";

fn succeeded(code: u32) -> Outcome<()> {
    if code == ERROR_SUCCESS { Ok(()) } else { Err(code as Number) }
}

fn blob(bytes: &[u8]) -> CRYPT_INTEGER_BLOB {
    CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_ptr().cast_mut() }
}

/// A copy of what the system has written.
fn taken(written: &CRYPT_INTEGER_BLOB) -> Vec<u8> {
    let memory = Local(written.pbData.cast());
    // SAFETY: the system says that so many bytes are there.
    unsafe { std::slice::from_raw_parts(memory.0.cast::<u8>(), written.cbData as usize) }.to_vec()
}

fn seal(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let (plain, mut sealed) = (blob(bytes), CRYPT_INTEGER_BLOB::default());
    // SAFETY: the bytes outlive the call; one blob is written, the other pointers may be null.
    done(unsafe {
        CryptProtectData(
            &raw const plain,
            null(),
            null(),
            null(),
            null(),
            CRYPTPROTECT_UI_FORBIDDEN,
            &mut sealed,
        )
    })?;
    Ok(taken(&sealed))
}

fn unseal(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let (sealed, mut plain) = (blob(bytes), CRYPT_INTEGER_BLOB::default());
    // SAFETY: as above.
    done(unsafe {
        CryptUnprotectData(
            &raw const sealed,
            null_mut(),
            null(),
            null(),
            null(),
            CRYPTPROTECT_UI_FORBIDDEN,
            &mut plain,
        )
    })?;
    Ok(taken(&plain))
}

fn set(key: (HKEY, &str), name: &str, kind: u32, bytes: &[u8]) -> Outcome<()> {
    let (root, path) = key;
    let (path, name) = (wide(path), wide(name));
    let (first, length) = (bytes.as_ptr().cast(), bytes.len() as u32);
    // SAFETY: both texts end with a NUL, and the bytes are as many as is said.
    succeeded(unsafe { RegSetKeyValueW(root, path.as_ptr(), name.as_ptr(), kind, first, length) })
}

/// A value, of at most 4 KiB.
fn get(key: (HKEY, &str), name: &str, kinds: u32) -> Outcome<Vec<u8>> {
    let (root, path) = key;
    let (path, name) = (wide(path), wide(name));
    let mut bytes = vec![0u8; 4096];
    let mut length = bytes.len() as u32;
    let place = bytes.as_mut_ptr().cast();
    // SAFETY: both texts end with a NUL, and there is as much room as is said.
    succeeded(unsafe {
        RegGetValueW(root, path.as_ptr(), name.as_ptr(), kinds, null_mut(), place, &mut length)
    })?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// What is not there is gone.
fn delete(key: (HKEY, &str), name: &str) -> Outcome<()> {
    let (root, path) = key;
    let (path, name) = (wide(path), wide(name));
    // SAFETY: both texts end with a NUL.
    match unsafe { RegDeleteKeyValueW(root, path.as_ptr(), name.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => succeeded(code),
    }
}

const OWN: (HKEY, &str) = (HKEY_CURRENT_USER, KEY);
const SIGN_IN: (HKEY, &str) = (HKEY_LOCAL_MACHINE, HIDDEN);

/// The password of an account.
pub(crate) fn password(user: &str) -> Outcome<String> {
    let plain = unseal(&get(OWN, user, RRF_RT_REG_BINARY)?)?;
    String::from_utf8(plain).map_err(|_| ERROR_INVALID_DATA as Number)
}

pub(crate) fn keep_password(user: &str, password: &str) -> Outcome<()> {
    set(OWN, user, REG_BINARY, &seal(password.as_bytes())?)
}

pub(crate) fn forget_password(user: &str) -> Outcome<()> {
    delete(OWN, user)
}

/// The port of the proxy, when both accounts have been prepared for this user.
pub(crate) fn proxy_port() -> Option<u16> {
    for user in [OFFLINE, PROXY] {
        get(OWN, user, RRF_RT_REG_BINARY).ok()?;
    }
    let bytes = get(OWN, PORT, RRF_RT_REG_DWORD).ok()?;
    let port = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    u16::try_from(port).ok().filter(|port| *port > 0)
}

pub(crate) fn keep_proxy_port(port: u16) -> Outcome<()> {
    set(OWN, PORT, REG_DWORD, &u32::from(port).to_le_bytes())
}

/// Forgets everything.
pub(crate) fn forget_all() -> Outcome<()> {
    let path = wide(KEY);
    // SAFETY: the text ends with a NUL.
    match unsafe { RegDeleteTreeW(HKEY_CURRENT_USER, path.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        code => succeeded(code),
    }
}

/// Whether the sign-in screen leaves an account out.
pub(crate) fn is_hidden(user: &str) -> bool {
    get(SIGN_IN, user, RRF_RT_REG_DWORD).is_ok_and(|bytes| bytes == [0; 4])
}

pub(crate) fn hide(user: &str) -> Outcome<()> {
    set(SIGN_IN, user, REG_DWORD, &[0; 4])
}

pub(crate) fn show(user: &str) -> Outcome<()> {
    delete(SIGN_IN, user)
}

/// A password that nobody has to remember: 32 characters of 64, and one of each kind that the
/// rules of a host may ask for.
pub(crate) fn random_password() -> Outcome<String> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0u8; 32];
    let (place, length) = (random.as_mut_ptr(), random.len() as u32);
    // SAFETY: there is as much room as is said; without an algorithm the system's own is taken.
    let status =
        unsafe { BCryptGenRandom(null_mut(), place, length, BCRYPT_USE_SYSTEM_PREFERRED_RNG) };
    if status != 0 {
        return Err(ERROR_GEN_FAILURE as Number);
    }
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte % 64)]);
    Ok(random.into_iter().map(letter).chain("aA1-".chars()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_comes_back_and_is_not_to_be_read() {
        let password = random_password().unwrap();
        let sealed = seal(password.as_bytes()).unwrap();
        assert_eq!(unseal(&sealed).unwrap(), password.as_bytes());
        assert!(!sealed.windows(8).any(|part| password.as_bytes().starts_with(part)));
        assert!(unseal(&sealed[..sealed.len() - 8]).is_err());
        assert!(unseal(b"").is_err());
        assert_ne!(password, random_password().unwrap());
    }

    #[test]
    fn passwords_and_the_port_are_kept_until_they_are_forgotten() {
        assert_eq!(proxy_port(), None);
        keep_password(OFFLINE, "one").unwrap();
        keep_password(PROXY, "two").unwrap();
        assert_eq!(proxy_port(), None, "no port yet");
        keep_proxy_port(4128).unwrap();
        assert_eq!((proxy_port(), password(PROXY).unwrap()), (Some(4128), String::from("two")));
        forget_password(PROXY).unwrap();
        assert_eq!(proxy_port(), None);
        forget_all().unwrap();
        forget_all().unwrap();
        assert!(password(OFFLINE).is_err());
    }
}
