//! The language a peer says it is written in.

macro_rules! languages {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal;)*) => {
        /// The language a peer says it is written in. We say `Java`: old clients do not know the newer names.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum Language {
            $($(#[$doc])* $variant = $code,)*
        }

        impl Language {
            /// The name in JSON headers.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// From a JSON header; unknown names are [`Language::Other`].
            pub fn from_name(name: &[u8]) -> Self {
                $(if name == $name.as_bytes() { return Self::$variant; })*
                Self::Other
            }

            /// From a binary header; unknown numbers are [`Language::Other`].
            pub const fn from_code(code: u8) -> Self {
                match code { $($code => Self::$variant,)* _ => Self::Other }
            }
        }
    };
}

languages! {
    /// Java.
    #[default]
    Java = 0, "JAVA";
    /// C++.
    Cpp = 1, "CPP";
    /// .NET.
    Dotnet = 2, "DOTNET";
    /// Python.
    Python = 3, "PYTHON";
    /// Delphi.
    Delphi = 4, "DELPHI";
    /// Erlang.
    Erlang = 5, "ERLANG";
    /// Ruby.
    Ruby = 6, "RUBY";
    /// Anything else.
    Other = 7, "OTHER";
    /// HTTP.
    Http = 8, "HTTP";
    /// Go.
    Go = 9, "GO";
    /// PHP.
    Php = 10, "PHP";
    /// OMS.
    Oms = 11, "OMS";
    /// Rust.
    Rust = 12, "RUST";
    /// Node.js.
    NodeJs = 13, "NODE_JS";
}
