//! The structure of an ELF file, as far as it decides whether the file can and may be loaded.
//!
//! The system loader goes by the segments, this by the sections; a file whose dynamic section is not its dynamic segment
//! is therefore refused.

use super::glibc::GlibcVersion;
use crate::loader::error::{Problem, shown};
use im_bridge_plugin_api::abi;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::{Endianness, StringTable};

type Header = FileHeader64<Endianness>;

/// What was found.
#[derive(Debug, Default)]
pub struct Elf {
    /// Machine it is built for.
    pub machine: String,
    /// The entry symbol is exported.
    pub has_entry: bool,
    /// Number of other exported symbols.
    pub other_exports: usize,
    /// The first few of them by name.
    pub first_exports: Vec<String>,
    /// Names of the libraries it needs.
    pub needed: Vec<String>,
    /// Newest version of the C library it needs.
    pub glibc: Option<GlibcVersion>,
    /// It wants room in the thread block that is laid out when the process starts.
    pub static_tls: bool,
    /// What weakens the process: search paths of its own, code that is written to.
    pub unhardened: Vec<&'static str>,
}

/// Symbols named in a message.
const FIRST_EXPORTS: usize = 3;

/// Limits that no honest plugin comes near; they keep a hostile file from making many entries point at one long name.
const NAMED_EXPORTS_MAX: usize = 256;
const NEEDED_MAX: usize = 64;
const SYMBOL_VERSIONS_MAX: usize = 1024;

/// What linkers put into the table of exports by themselves.
const LINKER_SYMBOLS: &[&[u8]] = &[b"_init", b"_fini", b"_edata", b"_end", b"__bss_start"];

const HEADER_BYTES: usize = size_of::<Header>();

#[cfg(target_arch = "x86_64")]
const HOST: (elf::Machine, &str, &str) = (elf::EM_X86_64, "x86-64", "x86_64-unknown-linux-gnu");
#[cfg(target_arch = "aarch64")]
const HOST: (elf::Machine, &str, &str) = (elf::EM_AARCH64, "aarch64", "aarch64-unknown-linux-gnu");

/// Reads the structure, and finds the descriptor's section.
///
/// # Errors
/// What makes the rest of the file meaningless: not ELF, cut off, for another machine.
pub fn read(bytes: &[u8]) -> Result<(Elf, Option<&[u8]>), Problem> {
    let not_elf = |found: String| Problem::NotElf { found };
    let malformed = |error: object::read::Error| not_elf(error.to_string());
    let unfit = |Malformed(found)| not_elf(found);

    let magic = elf::ELFMAG;
    if !bytes.starts_with(&magic[..bytes.len().min(magic.len())]) || bytes.is_empty() {
        return Err(not_elf(beginning(bytes)));
    }
    complete(bytes, HEADER_BYTES as u64)?;
    let machine = machine(bytes);
    let header = match Header::parse(bytes) {
        Ok(header) if machine == HOST.1 => header,
        // Another class or byte order is another machine.
        Ok(_) => return Err(foreign(machine)),
        Err(_) if machine != HOST.1 => return Err(foreign(machine)),
        Err(error) => return Err(malformed(error)),
    };
    let endian = header.endian().map_err(malformed)?;
    match header.e_type(endian) {
        elf::ET_DYN => {}
        elf::ET_EXEC => return Err(not_elf("it is a program".into())),
        elf::ET_REL => return Err(not_elf("it is an object file".into())),
        _ => return Err(not_elf("it is of another ELF type".into())),
    }

    let table =
        |at: u64, count: u16, size: u16| at.saturating_add(u64::from(count) * u64::from(size));
    let tables_end = u64::max(
        table(
            header.e_phoff(endian),
            header.e_phnum(endian),
            header.e_phentsize(endian),
        ),
        table(
            header.e_shoff(endian),
            header.e_shnum(endian),
            header.e_shentsize(endian),
        ),
    );
    complete(bytes, tables_end)?;
    let segments = header.program_headers(endian, bytes).map_err(malformed)?;
    let sections = header.sections(endian, bytes).map_err(malformed)?;
    let segments_end = segments.iter().map(|segment| {
        segment
            .p_offset(endian)
            .saturating_add(segment.p_filesz(endian))
    });
    let sections_end = sections
        .iter()
        .filter_map(|section| section.file_range(endian))
        .map(|(at, size)| at.saturating_add(size));
    complete(bytes, segments_end.chain(sections_end).max().unwrap_or(0))?;

    let mut found = Elf {
        machine,
        ..Elf::default()
    };
    // Without this header the system loader makes every stack executable.
    let stack = segments
        .iter()
        .find(|segment| segment.p_type(endian) == elf::PT_GNU_STACK);
    if stack.is_none_or(|stack| stack.p_flags(endian).contains(elf::PF_X)) {
        found.weakened_by("an executable stack");
    }
    let segment = segments
        .iter()
        .find(|segment| segment.p_type(endian) == elf::PT_DYNAMIC)
        .map(|segment| (segment.p_offset(endian), segment.p_filesz(endian)));
    let section = sections
        .iter()
        .find(|section| section.sh_type(endian) == elf::SHT_DYNAMIC)
        .and_then(|section| section.file_range(endian));
    if segment.is_none() || segment != section {
        let problem = "its dynamic section is not its dynamic segment";
        return Err(not_elf(problem.into()));
    }
    dynamic(endian, bytes, &sections, &mut found).map_err(unfit)?;
    exports(endian, bytes, &sections, &mut found).map_err(unfit)?;
    found.glibc = newest_glibc(endian, bytes, &sections).map_err(unfit)?;

    let descriptor = sections
        .section_by_name(endian, abi::DESCRIPTOR_SECTION.as_bytes())
        .map(|(_, section): (_, &SectionHeader64<Endianness>)| section.data(endian, bytes))
        .transpose()
        .map_err(malformed)?;
    Ok((found, descriptor))
}

fn beginning(bytes: &[u8]) -> String {
    use std::fmt::Write;
    if bytes.is_empty() {
        return "it is empty".into();
    }
    let mut text = String::from("begins with");
    for byte in bytes.iter().take(4) {
        write!(text, " {byte:02x}").expect("writing to a string does not fail");
    }
    text
}

fn complete(bytes: &[u8], needed: u64) -> Result<(), Problem> {
    let end = bytes.len() as u64;
    if needed > end {
        return Err(Problem::Truncated { end, needed });
    }
    Ok(())
}

fn foreign(machine: String) -> Problem {
    Problem::Target {
        theirs: machine,
        ours: HOST.1,
        triple: HOST.2,
    }
}

/// Name of the machine, with class and byte order where they are not the usual ones. Needs the whole header.
fn machine(bytes: &[u8]) -> String {
    let (class, order) = (bytes[4], bytes[5]);
    let is_big_endian = order == 2;
    let number = [bytes[18], bytes[19]];
    let number = if is_big_endian {
        u16::from_be_bytes(number)
    } else {
        u16::from_le_bytes(number)
    };
    let (name, usual_class) = match number {
        3 => ("x86", 1),
        40 => ("arm", 1),
        62 => ("x86-64", 2),
        183 => ("aarch64", 2),
        21 => ("ppc64", 2),
        22 => ("s390x", 2),
        243 => ("riscv64", 2),
        _ => ("", class),
    };
    let mut text = if name.is_empty() {
        format!("machine {number}")
    } else {
        name.to_owned()
    };
    if class != usual_class {
        text.push_str(if class == 1 {
            " with 32 bits"
        } else {
            " with 64 bits"
        });
    }
    if is_big_endian && !matches!(number, 21 | 22) {
        text.push_str(", big-endian");
    }
    text
}

type Sections<'data> = SectionTable<'data, Header>;
type Read<T> = Result<T, Malformed>;

/// Why the structure makes no sense.
struct Malformed(String);

impl From<object::read::Error> for Malformed {
    fn from(error: object::read::Error) -> Self {
        Self(error.to_string())
    }
}

impl Elf {
    fn weakened_by(&mut self, what: &'static str) {
        if !self.unhardened.contains(&what) {
            self.unhardened.push(what);
        }
    }
}

fn dynamic(endian: Endianness, bytes: &[u8], sections: &Sections<'_>, found: &mut Elf) -> Read<()> {
    let Some((entries, strings)) = sections.dynamic(endian, bytes)? else {
        return Ok(());
    };
    let strings: StringTable<'_> = sections.strings(endian, bytes, strings)?;
    for entry in entries {
        let tag = entry.tag(endian);
        let value = entry.val(endian);
        match tag {
            elf::DT_NULL => break,
            // Filters are loaded like needed libraries.
            elf::DT_NEEDED | elf::DT_AUXILIARY | elf::DT_FILTER => {
                if found.needed.len() == NEEDED_MAX {
                    return Err(Malformed(format!("needs more than {NEEDED_MAX} libraries")));
                }
                let soname = entry.string(endian, strings)?;
                found.needed.push(shown(soname));
            }
            elf::DT_RPATH => found.weakened_by("RPATH"),
            elf::DT_RUNPATH => found.weakened_by("RUNPATH"),
            elf::DT_TEXTREL => found.weakened_by("TEXTREL"),
            elf::DT_FLAGS => {
                found.static_tls |= value & elf::DF_STATIC_TLS.0 != 0;
                if value & elf::DF_TEXTREL.0 != 0 {
                    found.weakened_by("TEXTREL");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn exports(endian: Endianness, bytes: &[u8], sections: &Sections<'_>, found: &mut Elf) -> Read<()> {
    let symbols = sections.symbols(endian, bytes, elf::SHT_DYNSYM)?;
    for symbol in symbols.iter() {
        let is_local = symbol.st_bind() == elf::STB_LOCAL;
        let is_hidden = matches!(symbol.st_visibility(), elf::STV_HIDDEN | elf::STV_INTERNAL);
        if is_local || is_hidden || symbol.is_undefined(endian) {
            continue;
        }
        if found.other_exports >= NAMED_EXPORTS_MAX {
            // It is refused anyway; whether the entry symbol is among the rest does not matter any more.
            found.has_entry = true;
            found.other_exports += 1;
            continue;
        }
        let name = symbols.symbol_name(endian, symbol)?;
        if name == abi::ENTRY_SYMBOL.as_bytes() {
            found.has_entry = true;
        } else if !LINKER_SYMBOLS.contains(&name) {
            found.other_exports += 1;
            found.first_exports.push(shown(name));
        }
    }
    // The table is in the order of a hash, which means nothing to a reader.
    found.first_exports.sort();
    found.first_exports.truncate(FIRST_EXPORTS);
    Ok(())
}

fn newest_glibc(
    endian: Endianness,
    bytes: &[u8],
    sections: &Sections<'_>,
) -> Read<Option<GlibcVersion>> {
    let Some((mut needs, strings)) = sections.gnu_verneed(endian, bytes)? else {
        return Ok(None);
    };
    let strings: StringTable<'_> = sections.strings(endian, bytes, strings)?;
    let mut newest = None;
    let mut seen = 0;
    while let Some((_, mut versions)) = needs.next()? {
        seen += 1;
        while let Some(version) = versions.next()? {
            seen += 1;
            if seen > SYMBOL_VERSIONS_MAX {
                return Err(Malformed(format!(
                    "needs more than {SYMBOL_VERSIONS_MAX} symbol versions"
                )));
            }
            // The system loader does not insist on weak ones.
            if version.vna_flags.get(endian).contains(elf::VER_FLG_WEAK) {
                continue;
            }
            let name = version.name(endian, strings)?;
            newest = newest.max(GlibcVersion::of_symbol_version(name));
        }
    }
    Ok(newest)
}
