//! Issue and check SSH certificates; the signer behind a trait.
