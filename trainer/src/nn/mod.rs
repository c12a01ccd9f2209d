//! Networks: layers with trainable weights, and the operations they are made of.

mod init;
mod network;
pub mod ops;
mod optimizer;

pub use init::Init;
pub use network::{Network, to_channels_first, to_channels_last};
pub use ops::adam::AdamOptions;
pub use optimizer::Adam;
