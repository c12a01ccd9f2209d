//! Networks: layers with trainable weights, and the operations they are made of.

mod double_backward;
mod fused;
mod gradients;
mod init;
mod network;
pub mod ops;
mod optimizer;
mod tape;

pub use double_backward::check_piecewise_linear;
pub use init::Init;
pub use network::{Network, Pass, to_channels_first, to_channels_last};
pub use ops::adam::AdamOptions;
pub use optimizer::Adam;
