//! What errors call the parts of a file. A name is a number until somebody prints it: firmware that prints none carries
//! none.

use core::fmt;

/// Declares an enum whose variants have names for people.
macro_rules! names {
    ($(#[$about:meta])* $type:ident { $($variant:ident $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $type {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl $type {
            /// The name that is printed.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

names! {
    /// A part of a file that may be cut off.
    Part {
        HeaderLength "header length",
        Header "header",
        PlanHeader "plan header",
        DataSection "data section",
        Plan "plan",
    }
}

names! {
    /// An array of a layer, by its name in the safetensors header.
    Array {
        Weight "weight",
        Bias "bias",
        Multiplier "multiplier",
        NegativeMultiplier "negative_multiplier",
        Table "table",
    }
}

names! {
    /// A field of the plan, or a number that follows from several.
    Field {
        ImageHeight "image height",
        ImageWidth "image width",
        ImageChannels "image channels",
        Latents "latents",
        EncoderLayers "encoder layers",
        DecoderLayers "decoder layers",
        Factors "factors",
        MeanBits "mean_bits",
        LogVarBits "log_var_bits",
        HeaderLength "header length",
        PlanLength "plan length",
        DataSectionLength "data section length",
        Reserved "reserved",
        Kind "kind",
        Output "output",
        Shift "shift",
        Flags "flags",
        InputHeight "input height",
        InputWidth "input width",
        InputChannels "input channels",
        OutputHeight "output height",
        OutputWidth "output width",
        OutputChannels "output channels",
        OutputFeatures "output features",
        KernelHeight "kernel height",
        KernelWidth "kernel width",
        StrideHeight "stride height",
        StrideWidth "stride width",
        PaddingAbove "padding above",
        PaddingLeft "padding left",
        InputZeroPoint "input zero point",
        OutputZeroPoint "output zero point",
        TableZeroPoint "table zero point",
        ActivationMinimum "activation minimum",
        ActivationMaximum "activation maximum",
        TableLength "table length",
        WeightOffset "weight offset",
        BiasOffset "bias offset",
        MultiplierOffset "multiplier offset",
        NegativeMultiplierOffset "negative multiplier offset",
        TableOffset "table offset",
        ProductsOfAnOutput "products of an output",
        Multiplier "multiplier",
        Latent "latent",
        Name "name",
        NameLength "name length",
        NamePadding "name padding",
        Low "low",
        High "high",
        Importance "importance",
        Agreement "agreement",
    }
}
