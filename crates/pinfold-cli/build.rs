//! Has the linker put side by side what a launch runs (`launch.ld`), in the program that is shipped.

fn main() {
    println!("cargo::rerun-if-changed=launch.ld");
    let set = |name| std::env::var(name).unwrap_or_default();
    // The script is for the linkers that the musl target is linked with, GNU's and LLVM's. Called by
    // themselves or through a compiler, both know this option.
    if set("PROFILE") == "release" && set("CARGO_CFG_TARGET_ENV") == "musl" {
        println!("cargo::rustc-link-arg-bin=pinfold=-T{}/launch.ld", set("CARGO_MANIFEST_DIR"));
    }
}
