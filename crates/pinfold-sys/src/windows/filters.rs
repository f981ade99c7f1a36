//! Filters of the Windows Filtering Platform, which outlive every process and every start of
//! the system until they are taken away.

use std::ptr::{null, null_mut};

use pinfold_policy::plan::windows::filters::{Condition, Layer, PROVIDER, Part, SUBLAYER, parts};
use pinfold_policy::plan::windows::setup::{Action, Filter};
use windows_sys::Win32::Foundation::{
    ERROR_SUCCESS, FWP_E_ALREADY_EXISTS, FWP_E_FILTER_NOT_FOUND, FWP_E_IN_USE,
    FWP_E_PROVIDER_NOT_FOUND, FWP_E_SUBLAYER_NOT_FOUND, HANDLE,
};
use windows_sys::Win32::NetworkManagement::WindowsFilteringPlatform as fwp;
use windows_sys::Win32::Security::{GetSecurityDescriptorLength, PSECURITY_DESCRIPTOR};
use windows_sys::Win32::System::Rpc::RPC_C_AUTHN_WINNT;
use windows_sys::core::GUID;

use super::accounts;
use super::call::{Descriptor, Number, Outcome, wide};

/// The right that a filter asks of an account: being matched.
const MATCH: u32 = fwp::FWP_ACTRL_MATCH_FILTER;

fn succeeded(code: u32, also: &[i32]) -> Outcome<()> {
    match code {
        ERROR_SUCCESS => Ok(()),
        code if also.contains(&(code as i32)) => Ok(()),
        code => Err(code as Number),
    }
}

/// An open connection to the platform.
struct Engine(HANDLE);

impl Engine {
    fn open() -> Outcome<Engine> {
        let mut engine = null_mut();
        // SAFETY: the other pointers may be null; one handle is written.
        let code =
            unsafe { fwp::FwpmEngineOpen0(null(), RPC_C_AUTHN_WINNT, null(), null(), &mut engine) };
        succeeded(code, &[])?;
        Ok(Engine(engine))
    }

    /// Makes what filters are kept under.
    fn prepare(&self) -> Outcome<()> {
        let mut name = wide("pinfold");
        let display = fwp::FWPM_DISPLAY_DATA0 { name: name.as_mut_ptr(), description: null_mut() };
        let mut key = GUID::from_u128(PROVIDER);
        let provider = fwp::FWPM_PROVIDER0 {
            providerKey: key,
            displayData: display,
            flags: fwp::FWPM_PROVIDER_FLAG_PERSISTENT,
            ..fwp::FWPM_PROVIDER0::default()
        };
        // SAFETY: the engine is open, and the structure outlives the call.
        let code = unsafe { fwp::FwpmProviderAdd0(self.0, &raw const provider, null_mut()) };
        succeeded(code, &[FWP_E_ALREADY_EXISTS])?;
        let sublayer = fwp::FWPM_SUBLAYER0 {
            subLayerKey: GUID::from_u128(SUBLAYER),
            displayData: display,
            flags: fwp::FWPM_SUBLAYER_FLAG_PERSISTENT,
            providerKey: &raw mut key,
            weight: u16::MAX,
            ..fwp::FWPM_SUBLAYER0::default()
        };
        // SAFETY: as above.
        let code = unsafe { fwp::FwpmSubLayerAdd0(self.0, &raw const sublayer, null_mut()) };
        succeeded(code, &[FWP_E_ALREADY_EXISTS])
    }

    fn add(&self, filter: &Filter, part: &Part, account: &Descriptor) -> Outcome<()> {
        let mut name = wide("pinfold");
        let mut provider = GUID::from_u128(PROVIDER);
        let descriptor: PSECURITY_DESCRIPTOR = account.pointer();
        // SAFETY: it was made by the system.
        let length = unsafe { GetSecurityDescriptorLength(descriptor) };
        let mut account = fwp::FWP_BYTE_BLOB { size: length, data: descriptor.cast() };
        let mut conditions = vec![condition(
            fwp::FWPM_CONDITION_ALE_USER_ID,
            fwp::FWP_SECURITY_DESCRIPTOR_TYPE,
            fwp::FWP_CONDITION_VALUE0_0 { sd: &raw mut account },
        )];
        conditions.extend(part.conditions.iter().map(|wanted| match *wanted {
            Condition::Protocol(number) => condition(
                fwp::FWPM_CONDITION_IP_PROTOCOL,
                fwp::FWP_UINT8,
                fwp::FWP_CONDITION_VALUE0_0 { uint8: number },
            ),
            Condition::RemoteAddress(address) => condition(
                fwp::FWPM_CONDITION_IP_REMOTE_ADDRESS,
                fwp::FWP_UINT32,
                fwp::FWP_CONDITION_VALUE0_0 { uint32: address },
            ),
            Condition::RemotePort(port) => condition(
                fwp::FWPM_CONDITION_IP_REMOTE_PORT,
                fwp::FWP_UINT16,
                fwp::FWP_CONDITION_VALUE0_0 { uint16: port },
            ),
        }));
        // What is refused stays refused whatever others say; what is let through here, others
        // may still refuse.
        let (action, more) = match filter.action {
            Action::Permit => (fwp::FWP_ACTION_PERMIT, 0),
            Action::Block => (fwp::FWP_ACTION_BLOCK, fwp::FWPM_FILTER_FLAG_CLEAR_ACTION_RIGHT),
        };
        let made = fwp::FWPM_FILTER0 {
            filterKey: GUID::from_u128(part.key),
            displayData: fwp::FWPM_DISPLAY_DATA0 {
                name: name.as_mut_ptr(),
                description: null_mut(),
            },
            flags: fwp::FWPM_FILTER_FLAG_PERSISTENT | more,
            providerKey: &raw mut provider,
            layerKey: layer(part.layer),
            subLayerKey: GUID::from_u128(SUBLAYER),
            weight: fwp::FWP_VALUE0 {
                r#type: fwp::FWP_UINT8,
                Anonymous: fwp::FWP_VALUE0_0 { uint8: part.weight },
            },
            numFilterConditions: conditions.len() as u32,
            filterCondition: conditions.as_mut_ptr(),
            action: fwp::FWPM_ACTION0 { r#type: action, ..fwp::FWPM_ACTION0::default() },
            ..fwp::FWPM_FILTER0::default()
        };
        // SAFETY: the engine is open, and everything that the structure leads to outlives the
        // call.
        let code = unsafe { fwp::FwpmFilterAdd0(self.0, &raw const made, null_mut(), null_mut()) };
        succeeded(code, &[])
    }

    fn delete(&self, part: &Part) -> Outcome<()> {
        let key = GUID::from_u128(part.key);
        // SAFETY: the engine is open, and the key outlives the call.
        let code = unsafe { fwp::FwpmFilterDeleteByKey0(self.0, &raw const key) };
        succeeded(code, &[FWP_E_FILTER_NOT_FOUND])
    }

    /// Whether a part is there, for the port that it is about.
    fn has(&self, part: &Part) -> Outcome<bool> {
        let (key, mut found) = (GUID::from_u128(part.key), null_mut());
        // SAFETY: the engine is open; one pointer is written.
        let code = unsafe { fwp::FwpmFilterGetByKey0(self.0, &raw const key, &mut found) };
        if code as i32 == FWP_E_FILTER_NOT_FOUND {
            return Ok(false);
        }
        succeeded(code, &[])?;
        // SAFETY: the system has written it.
        let there = unsafe { found.read() };
        let first = there.filterCondition;
        let ports = (0..there.numFilterConditions as usize).filter_map(|at| {
            // SAFETY: there are so many conditions.
            let condition = unsafe { first.wrapping_add(at).read() };
            let value = condition.conditionValue;
            // SAFETY: whatever the value is, it is at least this long; only a port is kept.
            (value.r#type == fwp::FWP_UINT16).then_some(unsafe { value.Anonymous.uint16 })
        });
        let ports: Vec<u16> = ports.collect();
        let mut memory = found.cast();
        // SAFETY: the system has made this memory, and says that it is freed so.
        unsafe { fwp::FwpmFreeMemory0(&mut memory) };
        let wanted = part.conditions.iter().filter_map(|condition| match condition {
            Condition::RemotePort(port) => Some(*port),
            Condition::Protocol(_) | Condition::RemoteAddress(_) => None,
        });
        Ok(ports == wanted.collect::<Vec<u16>>())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { fwp::FwpmEngineClose0(self.0) };
    }
}

fn condition(
    field: GUID,
    kind: fwp::FWP_DATA_TYPE,
    value: fwp::FWP_CONDITION_VALUE0_0,
) -> fwp::FWPM_FILTER_CONDITION0 {
    fwp::FWPM_FILTER_CONDITION0 {
        fieldKey: field,
        matchType: fwp::FWP_MATCH_EQUAL,
        conditionValue: fwp::FWP_CONDITION_VALUE0 { r#type: kind, Anonymous: value },
    }
}

fn layer(layer: Layer) -> GUID {
    match layer {
        Layer::Connect4 => fwp::FWPM_LAYER_ALE_AUTH_CONNECT_V4,
        Layer::Connect6 => fwp::FWPM_LAYER_ALE_AUTH_CONNECT_V6,
        Layer::Accept4 => fwp::FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4,
        Layer::Accept6 => fwp::FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V6,
        Layer::Listen4 => fwp::FWPM_LAYER_ALE_AUTH_LISTEN_V4,
        Layer::Listen6 => fwp::FWPM_LAYER_ALE_AUTH_LISTEN_V6,
    }
}

/// Whether all of a filter is there.
pub(crate) fn has(filter: &Filter) -> Outcome<bool> {
    let engine = Engine::open()?;
    for part in parts(filter) {
        if !engine.has(&part)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes a filter, in the place of one for another port.
pub(crate) fn apply(filter: &Filter) -> Outcome<()> {
    let account = accounts::identifier(filter.user)?;
    let account = Descriptor::parse(&format!("D:(A;;{MATCH:#x};;;{account})"))?;
    let engine = Engine::open()?;
    engine.prepare()?;
    for part in parts(filter) {
        engine.delete(&part)?;
        engine.add(filter, &part, &account)?;
    }
    Ok(())
}

/// Takes a filter away, and with the last what it was kept under.
pub(crate) fn undo(filter: &Filter) -> Outcome<()> {
    let engine = Engine::open()?;
    for part in parts(filter) {
        engine.delete(&part)?;
    }
    let (sublayer, provider) = (GUID::from_u128(SUBLAYER), GUID::from_u128(PROVIDER));
    // SAFETY: the engine is open, and the key outlives the call.
    let code = unsafe { fwp::FwpmSubLayerDeleteByKey0(engine.0, &raw const sublayer) };
    succeeded(code, &[FWP_E_IN_USE, FWP_E_SUBLAYER_NOT_FOUND])?;
    // SAFETY: as above.
    let code = unsafe { fwp::FwpmProviderDeleteByKey0(engine.0, &raw const provider) };
    succeeded(code, &[FWP_E_IN_USE, FWP_E_PROVIDER_NOT_FOUND])
}
