//! The probe as people write it: `IP/TCP/MSS(1460)/ECE`.
//!
//! Tokens are whole names in any case, separated by slashes, some with a number in parentheses. The
//! first is the network layer, the second the transport; what is left out is taken as usual. `CE`
//! alone gives the code point 01, as the seed system has it: "congestion experienced" is `ECT/CE`.
//!
//! Source: the grammar of the seed system; RFC 9293, RFC 7323, RFC 2018, RFC 2385, RFC 5925, RFC 8684
//! for the options.

use sonde_plugin_api::packet::tcp::flags;

/// A probe, as asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Spec {
    pub(crate) is_udp: bool,
    pub(crate) tos: u8,
    pub(crate) ip_id: Option<u16>,
    pub(crate) flow_label: u32,
    pub(crate) flags: u8,
    /// TCP options in their order on the wire.
    pub(crate) options: Vec<u8>,
    pub(crate) dont_fragment: bool,
    /// Of TCP.
    pub(crate) window: Option<u16>,
    /// Behind the transport's header; that of the method where none is chosen.
    pub(crate) payload: Option<Vec<u8>>,
}

/// What is wrong with a probe, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("scamper.tracebox.probe: token {number}, {token:?}: {problem}")]
pub(crate) struct GrammarError {
    /// From 1.
    number: usize,
    /// As written, shortened.
    token: String,
    problem: String,
}

const NAMES: &str = "IP, IPV6, TCP, UDP, ECT, CE, DSCP, IPID, IPFLOW, DF, RAW, ECE, WINDOW, MSS, WSCALE, \
                     SACKP, SACK, TS, MD5, AO, TFO, MPCAPABLE, MPJOIN";

/// Octets of a chosen payload at most.
const MOST_PAYLOAD: usize = 512;

/// Options by their order on the wire.
const MSS: usize = 0;
const SACKP: usize = 1;
const MPCAPABLE: usize = 2;
const MPJOIN: usize = 3;
const WSCALE: usize = 4;
const MD5: usize = 5;
const AO: usize = 6;
const TS: usize = 7;
const SACK: usize = 8;
const TFO: usize = 9;

impl Spec {
    /// Reads a probe; `None` is the default one. `is_udp` and `is_v4` must agree with what is written.
    /// `random` gives what is not chosen.
    ///
    /// # Errors
    ///
    /// Names the token.
    pub(crate) fn parse(
        text: Option<&str>,
        is_udp: bool,
        is_v4: bool,
        random: &mut dyn FnMut() -> u32,
    ) -> Result<Self, GrammarError> {
        let mut spec = Self { is_udp, flags: flags::SYN, ..Self::default() };
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return Ok(spec);
        };
        let mut options: [Vec<u8>; 10] = Default::default();
        let mut transport = None;
        for (at, token) in text.split('/').enumerate() {
            let token = token.trim();
            let wrong = |problem: String| GrammarError {
                number: at + 1,
                token: token.chars().filter(|c| !c.is_control()).take(32).collect(),
                problem,
            };
            if let Some(hex) = payload(token) {
                spec.payload = Some(hex.map_err(wrong)?);
                continue;
            }
            let (name, value) = split(token).map_err(wrong)?;
            let up_to = |most: u64| match value {
                Some(value) if value > most => Err(wrong(format!("accepted: 0 ... {most}"))),
                value => Ok(value),
            };
            let bare = || match value {
                Some(_) => Err(wrong("takes no number".to_owned())),
                None => Ok(()),
            };
            let octets = |count: usize, random: &mut dyn FnMut() -> u32| -> Vec<u8> {
                (0..count.div_ceil(4)).flat_map(|_| random().to_be_bytes()).take(count).collect()
            };
            match name.as_str() {
                "IP" | "IPV6" => {
                    bare()?;
                    if at != 0 {
                        return Err(wrong("the network layer comes first".to_owned()));
                    }
                    if (name == "IP") != is_v4 {
                        let family = if is_v4 { "IP" } else { "IPV6" };
                        return Err(wrong(format!("accepted for this destination: {family}")));
                    }
                }
                "TCP" | "UDP" => {
                    if transport.is_some() {
                        return Err(wrong("there is a transport already".to_owned()));
                    }
                    if (name == "UDP") != is_udp {
                        let given = u8::from(is_udp);
                        return Err(wrong(format!(
                            "contradicts scamper.tracebox.udp, which is {given}"
                        )));
                    }
                    if is_udp {
                        bare()?;
                    }
                    spec.flags = up_to(255)?.map_or(flags::SYN, |value| value as u8);
                    transport = Some(name);
                }
                "ECT" => {
                    bare()?;
                    spec.tos |= 2;
                }
                "CE" => {
                    bare()?;
                    spec.tos |= 1;
                }
                "DSCP" => {
                    let value = up_to(63)?.unwrap_or_else(|| u64::from(random() % 63 + 1));
                    spec.tos = spec.tos & 3 | (value as u8) << 2;
                }
                "DF" if is_v4 => {
                    bare()?;
                    spec.dont_fragment = true;
                }
                "IPID" if is_v4 => {
                    let value = up_to(65_535)?.unwrap_or_else(|| u64::from(random() % 65_535 + 1));
                    if value == 0 {
                        return Err(wrong(
                            "accepted: 1 ... 65535, for 0 would be replaced".to_owned(),
                        ));
                    }
                    spec.ip_id = Some(value as u16);
                }
                "IPFLOW" if !is_v4 => {
                    let value =
                        up_to(0xf_ffff)?.unwrap_or_else(|| u64::from(random() % 0xf_ffff + 1));
                    spec.flow_label = value as u32;
                }
                "IPID" | "IPFLOW" | "DF" => {
                    return Err(wrong("is not of this destination's family".to_owned()));
                }
                _ if is_udp && is_tcp(&name) => return Err(wrong("is of TCP alone".to_owned())),
                "ECE" => {
                    bare()?;
                    spec.flags |= flags::ECE | flags::CWR;
                }
                "WINDOW" => spec.window = Some(up_to(65_535)?.unwrap_or(65_535) as u16),
                // A request for a cookie.
                "TFO" => {
                    bare()?;
                    options[TFO] = vec![34, 2];
                }
                "MSS" => {
                    let [high, low] = (up_to(65_535)?.unwrap_or(1460) as u16).to_be_bytes();
                    options[MSS] = vec![2, 4, high, low];
                }
                "WSCALE" | "WINDOWSCALE" => {
                    options[WSCALE] = vec![3, 3, up_to(255)?.unwrap_or(14) as u8];
                }
                "SACKP" => {
                    bare()?;
                    options[SACKP] = vec![4, 2];
                }
                "SACK" => {
                    bare()?;
                    options[SACK] = [vec![5, 10], octets(8, random)].concat();
                }
                "TS" | "TSTAMP" | "TIMESTAMP" => {
                    bare()?;
                    let now = random().to_be_bytes();
                    options[TS] = [&[8, 10], &now[..], &now[..]].concat();
                }
                "MD5" => {
                    bare()?;
                    options[MD5] = [vec![19, 18], octets(16, random)].concat();
                }
                "AO" | "AUTH" | "TCPAO" => {
                    bare()?;
                    options[AO] = [vec![29, 20], octets(18, random)].concat();
                }
                "MPCAPABLE" => {
                    bare()?;
                    // Subtype 0, version 0; checksums wanted, HMAC-SHA1.
                    options[MPCAPABLE] = [vec![30, 12, 0, 0x81], octets(8, random)].concat();
                }
                "MPJOIN" => {
                    bare()?;
                    options[MPJOIN] = [vec![30, 12, 0x10, 0], octets(8, random)].concat();
                }
                _ => return Err(wrong(format!("is unknown, accepted: {NAMES}"))),
            }
            let octets: usize = options.iter().map(Vec::len).sum();
            if octets > 40 {
                return Err(wrong(format!("makes {octets} octets of TCP options, accepted: 40")));
            }
        }
        spec.options = options.concat();
        while !spec.options.len().is_multiple_of(4) {
            spec.options.push(1);
        }
        Ok(spec)
    }
}

/// The octets of `RAW(hex)`; `None` for other tokens.
fn payload(token: &str) -> Option<Result<Vec<u8>, String>> {
    let head = token.get(..4).filter(|head| head.eq_ignore_ascii_case("RAW("))?;
    let wanted = || format!("accepted: RAW(hex), 1 to {MOST_PAYLOAD} octets");
    let digits = token[head.len()..].strip_suffix(')').unwrap_or_default();
    let octets = sonde_plugin_api::text::parse_hex(digits).ok_or_else(wanted);
    let is_fitting = |octets: &Vec<u8>| (1..=MOST_PAYLOAD).contains(&octets.len());
    Some(octets.and_then(|octets| if is_fitting(&octets) { Ok(octets) } else { Err(wanted()) }))
}

fn is_tcp(name: &str) -> bool {
    [
        "ECE",
        "WINDOW",
        "TFO",
        "MSS",
        "WSCALE",
        "WINDOWSCALE",
        "SACKP",
        "SACK",
        "TS",
        "TSTAMP",
        "TIMESTAMP",
        "MD5",
        "AO",
        "AUTH",
        "TCPAO",
        "MPCAPABLE",
        "MPJOIN",
    ]
    .contains(&name)
}

/// Name in capitals, and the number behind it.
fn split(token: &str) -> Result<(String, Option<u64>), String> {
    let Some((name, rest)) = token.split_once('(') else {
        return Ok((token.to_ascii_uppercase(), None));
    };
    let number = rest.strip_suffix(')').ok_or("a closing parenthesis is missing")?;
    let is_number = !number.is_empty() && number.bytes().all(|octet| octet.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number);
    let number = number.ok_or("a decimal number belongs between the parentheses")?;
    Ok((name.to_ascii_uppercase(), Some(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, is_udp: bool, is_v4: bool) -> Result<Spec, String> {
        let parsed = Spec::parse(Some(text), is_udp, is_v4, &mut || 0x0102_0304);
        parsed.map_err(|error| error.to_string())
    }

    #[test]
    fn the_probe_of_the_seed_system_is_understood() {
        let spec = parse("IP/TCP/MSS(1460)/ECE/CE/MPCAPABLE", false, true).unwrap();
        assert_eq!((spec.tos, spec.flags), (1, flags::SYN | flags::ECE | flags::CWR));
        assert_eq!(spec.options, [2, 4, 5, 180, 30, 12, 0, 0x81, 1, 2, 3, 4, 1, 2, 3, 4]);
    }

    #[test]
    fn names_are_whole_and_in_any_case() {
        assert_eq!(parse("ip/tcp/Mss(9)", false, true).unwrap().options, [2, 4, 0, 9]);
        assert_eq!(parse("IPV6/UDP/IPFLOW(5)", true, false).unwrap().flow_label, 5);
        assert_eq!(parse("IP/TCP/TCPAO", false, true).unwrap().options[..2], [29, 20]);
        assert_eq!(parse("IP/TCP(18)", false, true).unwrap().flags, 18);
        assert_eq!(parse("IP/UDP/DSCP(46)/ECT", true, true).unwrap().tos, 46 << 2 | 2);
        assert_eq!(parse("IP/TCP/WSCALE(7)", false, true).unwrap().options, [3, 3, 7, 1]);
        assert_eq!(parse("IP/UDP/IPID(7)", true, true).unwrap().ip_id, Some(7));
    }

    #[test]
    fn payload_window_and_flags_of_the_network_layer_can_be_chosen() {
        let spec = parse("IP/TCP/DF/WINDOW(1024)/TFO/RAW(00fF)", false, true).unwrap();
        assert_eq!((spec.dont_fragment, spec.window), (true, Some(1024)));
        assert_eq!(spec.options, [34, 2, 1, 1]);
        assert_eq!(spec.payload.unwrap(), [0, 0xff]);
        assert_eq!(parse("IPV6/UDP/raw(01)", true, false).unwrap().payload.unwrap(), [1]);
        for text in
            ["IP/TCP/RAW", "IP/TCP/RAW()", "IP/TCP/RAW(1)", "IP/TCP/RAW(0g)", "IP/TCP/RAW(00"]
        {
            assert!(parse(text, false, true).unwrap_err().contains("token 3, \"RAW"), "{text}");
        }
        assert!(parse("IPV6/TCP/DF", false, false).unwrap_err().contains("is not of"));
    }

    #[test]
    fn a_mistake_is_named_with_its_token() {
        for (text, is_udp, is_v4, expected) in [
            ("IP/TCP/FOO", false, true, "token 3, \"FOO\": is unknown"),
            ("IP/TCP/MSS(70000)", false, true, "token 3, \"MSS(70000)\": accepted: 0 ... 65535"),
            ("IP/TCP/MSS(1", false, true, "token 3, \"MSS(1\": a closing"),
            ("IP/TCP/MSS()", false, true, "token 3, \"MSS()\": a decimal"),
            ("IP/TCP/MSS(-1)", false, true, "token 3, \"MSS(-1)\": a decimal"),
            ("IP/TCP/ECE(1)", false, true, "token 3, \"ECE(1)\": takes no number"),
            ("IPV6/TCP", false, true, "token 1, \"IPV6\": accepted for this destination: IP"),
            ("IP/UDP", false, true, "token 2, \"UDP\": contradicts"),
            ("IP/UDP/MSS", true, true, "token 3, \"MSS\": is of TCP alone"),
            ("IP/TCP/TCP", false, true, "token 3, \"TCP\": there is"),
            ("TCP/IP", false, true, "token 2, \"IP\": the network layer"),
            ("IP//TCP", false, true, "token 2, \"\": is unknown"),
            ("IP/TCP/MD5/AO/TS", false, true, "token 5, \"TS\": makes 48 octets"),
            ("IP/TCP/IPID(0)", false, true, "token 3, \"IPID(0)\": accepted: 1"),
            ("IP/TCP/IPFLOW", false, true, "token 3, \"IPFLOW\": is not of"),
        ] {
            let error = parse(text, is_udp, is_v4).unwrap_err();
            let begin = format!("scamper.tracebox.probe: {expected}");
            assert!(error.starts_with(&begin), "{text}: {error}");
        }
    }

    #[test]
    fn nothing_is_the_usual_probe() {
        for text in [None, Some(""), Some("  ")] {
            let spec = Spec::parse(text, false, true, &mut || 0).unwrap();
            assert_eq!((spec.flags, spec.options.len(), spec.tos), (flags::SYN, 0, 0));
        }
    }
}
