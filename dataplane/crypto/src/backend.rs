//! The chosen backend. Both modules define the same names with the same signatures; cargo unifies features,
//! so where both are on, AWS-LC wins.

#[cfg(feature = "aws-lc-rs")]
mod aws_lc;
#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws_lc::*;

#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
mod ring;
#[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
pub(crate) use ring::*;

#[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
compile_error!("weir-crypto needs a backend: enable the feature `aws-lc-rs` or `ring`");
