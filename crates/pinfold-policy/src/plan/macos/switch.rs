//! What programs on macOS ask the system's services for, and a profile opens by name. Every
//! one of them is a way around some other rule, so each stands for itself and says which.

use crate::profile::MacSwitch;

/// Putting text into a terminal's input: `TIOCSTI`, `_IOW('t', 114, char)` of `sys/ttycom.h`.
/// Systems that cannot tell requests apart do not know the filter's name.
pub(super) const NO_TYPING: &str =
    "(when (defined? 'ioctl-command) (deny file-ioctl (ioctl-command 2147578994)))\n";

/// What a switch adds to the text of a profile.
pub(super) fn text(switch: MacSwitch) -> &'static str {
    match switch {
        // The rendezvous of its processes, which look each other up by name.
        MacSwitch::Chromium => {
            "(allow mach-register (global-name-prefix \"org.chromium.\")\
             \n  (global-name-prefix \"com.google.Chrome.\"))\n\
             (allow mach-lookup (global-name-prefix \"org.chromium.\")\
             \n  (global-name-prefix \"com.google.Chrome.\"))\n"
        }
        MacSwitch::Graphics => {
            "(allow iokit-open (iokit-user-client-class \"AGXDeviceUserClient\")\
             \n  (iokit-user-client-class \"IOSurfaceRootUserClient\")\
             \n  (iokit-user-client-class \"IOAccelDevice\")\
             \n  (iokit-user-client-class \"IOAccelSharedUserClient\"))\n\
             (allow mach-lookup (global-name \"com.apple.MTLCompilerService\")\
             \n  (global-name \"com.apple.cvmsServ\"))\n"
        }
        MacSwitch::Keychain => {
            "(allow mach-lookup (global-name \"com.apple.SecurityServer\")\
             \n  (global-name \"com.apple.securityd.xpc\")\
             \n  (global-name \"com.apple.secd\"))\n"
        }
        MacSwitch::LaunchServices => {
            "(allow lsopen)\n\
             (allow mach-lookup (global-name \"com.apple.coreservices.launchservicesd\")\
             \n  (global-name \"com.apple.lsd.mapdb\")\
             \n  (global-name \"com.apple.coreservices.quarantine-resolver\"))\n"
        }
        MacSwitch::NestedSandbox => {
            "(when (defined? 'mac-policy-name)\
             \n  (allow system-mac-syscall (mac-policy-name \"Sandbox\")))\n"
        }
        MacSwitch::Trustd => {
            "(allow mach-lookup (global-name \"com.apple.trustd\")\
             \n  (global-name \"com.apple.trustd.agent\")\
             \n  (global-name \"com.apple.ocspd\"))\n"
        }
    }
}
