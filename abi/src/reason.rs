//! Why a packet left the way it did. One number space of `u8`: forward reasons below 100, [counters](crate::metrics::counter)
//! from 100, drop reasons from 130 with the numbers of Hubble's `flow.DropReason`.

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $number,)+ }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of that number.
            pub const fn from_u8(n: u8) -> Option<Self> {
                match n { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// A name for people.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

numbered! {
    /// Why a packet was dropped. Numbers and meaning are those of Hubble's `flow.DropReason`.
    DropReason {
        /// The frame's source MAC is not the pod's.
        InvalidSourceMac = 130 "Invalid source mac",
        /// The packet's source address is not the pod's.
        InvalidSourceIp = 132 "Invalid source ip",
        /// Shorter than its own headers say, or lengths that contradict each other.
        InvalidPacket = 134 "Invalid packet",
        /// The transport header is cut off.
        CtInvalidHeader = 135 "CT: Truncated or invalid header",
        /// Not IPv4, IPv6 or ARP.
        UnsupportedL3 = 139 "Unsupported L3 protocol",
        /// The kernel refused a write to the packet.
        WriteError = 141 "Error writing to packet",
        /// The address belongs to the node's pods but no pod has it.
        Unroutable = 151 "Stale or unroutable IP",
        /// A client talks to a backend of a Service from the same port as in another connection to it, by another address: their
        /// answers would be alike.
        CtInsertionFailed = 155 "CT: Map insertion failed",
        /// IPv6 extension headers that are malformed, or more of them than are followed.
        InvalidIpv6Extension = 156 "Invalid IPv6 extension header",
        /// A Service has no backend for this client.
        ServiceBackendNotFound = 158 "Service backend not found",
        /// No free port for the translation.
        NoNatMapping = 167 "No mapping for NAT masquerade",
        /// The protocol cannot be translated.
        NatUnsupportedProtocol = 168 "Unsupported protocol for NAT masquerade",
        /// The destination is the address of a Service: that is replaced in system calls, never in packets.
        IsClusterIp = 174 "Is a ClusterIP",
        /// A later fragment whose first one was not seen.
        FragmentNotFound = 175 "First logical datagram fragment not found",
        /// The client is in none of the Service's `loadBalancerSourceRanges`.
        LbSourceRange = 177 "Denied by LB src range check",
        /// A pod sent a frame with a VLAN tag: behind the uplink that would be another network.
        VlanFiltered = 182 "VLAN traffic disallowed by VLAN filter",
    }
}

numbered! {
    /// Where a packet that was not dropped went.
    ForwardReason {
        /// Into a pod of this node, by redirect.
        ToEndpoint = 1 "to-endpoint",
        /// Out of the uplink, by redirect.
        ToNetwork = 2 "to-network",
        /// Left to the node's own stack: addressed to the node, or in need of what only the stack does.
        ToStack = 3 "to-stack",
        /// To the node through `pleo_host`.
        ToHost = 4 "to-host",
        /// Passed on as it was: what the stack delivers to a pod or sends out, and what is not ours.
        Passed = 5 "passed",
        /// Out of the uplink with the node's address.
        Masqueraded = 6 "masqueraded",
        /// Back from the uplink to a pod that was masqueraded.
        Unmasqueraded = 7 "unmasqueraded",
    }
}

numbered! {
    /// Where a packet was seen: Hubble's `flow.TraceObservationPoint`.
    ObservationPoint {
        /// To the node's own address.
        ToHost = 2 "to-host",
        /// To the node's stack.
        ToStack = 3 "to-stack",
        /// From a pod.
        FromEndpoint = 5 "from-endpoint",
        /// From the node.
        FromHost = 7 "from-host",
        /// From the node's stack.
        FromStack = 8 "from-stack",
        /// From the uplink.
        FromNetwork = 10 "from-network",
        /// To the uplink.
        ToNetwork = 11 "to-network",
        /// To a pod.
        ToEndpoint = 101 "to-endpoint",
    }
}

numbered! {
    /// What became of it: Hubble's `flow.Verdict`.
    Verdict {
        /// On its way.
        Forwarded = 1 "FORWARDED",
        /// Dropped; the reason is a [`DropReason`].
        Dropped = 2 "DROPPED",
        /// Seen at a socket, left as it was.
        Traced = 6 "TRACED",
        /// Its address was translated at a socket.
        Translated = 7 "TRANSLATED",
    }
}

numbered! {
    /// Where in a socket's translation: Hubble's `flow.SocketTranslationPoint`.
    XlatePoint {
        /// Before the service choice.
        PreForward = 1 "pre-xlate-fwd",
        /// After it.
        PostForward = 2 "post-xlate-fwd",
        /// Before a reply's address is turned back.
        PreReverse = 3 "pre-xlate-rev",
        /// After it.
        PostReverse = 4 "post-xlate-rev",
    }
}
