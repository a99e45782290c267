//! Who works in a run's folder: one process at a time, on one machine or on several that share a disk.
//!
//! A claim is the folder `claim` in it, with a file `owner.json`: host, process and a time that its holder renews every ten
//! seconds. It is made beside and renamed into its place, which one of several processes manages, on network file systems
//! too. A claim is stale if its process is of this host and dead, or if it was not renewed for a minute by the clock of
//! the disk; then the next process takes it over. Who was suspended that long finds another owner and must stop.

use crate::error::{Error, Result, UserError};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// The claim of a folder, itself a folder.
pub const CLAIM_FOLDER: &str = "claim";
const OWNER_FILE: &str = "owner.json";
/// Held, inside a stale claim, by the process that takes it over.
const TAKEOVER: &str = "takeover";
/// What is on its way into its place or away from it.
const ASIDE: &str = ".claim-";
/// Time between two renewals.
const RENEWED_EVERY: Duration = Duration::from_secs(10);
/// Seconds after which a claim that was not renewed is stale.
const STALE_AFTER_S: f64 = 60.0;
/// How often a folder that others claim and leave at the same time is tried.
const TRIES: usize = 100;
/// Seconds by which two readings of a process's start may differ.
const START_TOLERANCE_S: u64 = 2;

/// Who holds a claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// Name of the machine.
    pub host: String,
    /// Number of the process there.
    pub process: u32,
    /// When the process began, in seconds since 1970.
    started: u64,
    /// In which space process numbers count, where the system has several (containers).
    #[serde(default)]
    namespace: String,
    /// Last renewal, in seconds since 1970 by the clock of the disk.
    pub time: f64,
    /// Tells claims apart.
    token: String,
}

impl Owner {
    fn this_process(token: String, time: f64) -> Self {
        let process = std::process::id();
        Self {
            host: System::host_name().unwrap_or_default(),
            process,
            started: started(process).unwrap_or(0),
            namespace: namespace(),
            time,
            token,
        }
    }

    /// Whether the claim has lost its holder. `now` is read off the disk's clock.
    fn is_stale(&self, now: f64) -> bool {
        let here = System::host_name().is_some_and(|host| host == self.host) && namespace() == self.namespace;
        let dead = here
            && started(self.process).is_none_or(|started| started.abs_diff(self.started) > START_TOLERANCE_S);
        dead || now - self.time > STALE_AFTER_S
    }

    fn describe(&self) -> String {
        match System::host_name() {
            Some(host) if host == self.host => format!("process {}", self.process),
            _ => format!("process {} on {}", self.process, self.host),
        }
    }
}

/// When a process began, if it lives.
fn started(process: u32) -> Option<u64> {
    let pid = Pid::from_u32(process);
    let mut system = System::new();
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&[pid]),
        true,
        ProcessRefreshKind::nothing(),
    );
    let found = system.process(pid)?;
    let dead = matches!(found.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
    (!dead).then(|| found.start_time())
}

fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid");
    link.map_or_else(|_| String::new(), |name| name.display().to_string())
}

/// A folder that is this process's. Dropped, it is anybody's again.
#[derive(Debug)]
pub struct Claim {
    shared: Arc<Shared>,
    /// Folders that were made for the claim, the innermost first.
    made: Vec<PathBuf>,
    renewing: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    token: String,
    lost: AtomicBool,
}

impl Claim {
    /// Claims a folder, and makes it if it is not there. `when_lost` is called, from another thread, if somebody else takes
    /// the claim over.
    ///
    /// # Errors
    /// [`UserError::InUse`] if a living process holds it, [`UserError::Folder`] if it is no folder: nothing has been written
    /// then; [`Error::Io`].
    pub fn take(folder: &Path, when_lost: impl FnOnce() + Send + 'static) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let reason = "cannot be used as a run's folder: it is a file";
            return Err(refuse(folder, reason.to_owned()));
        }
        let made = make_folders(folder).map_err(|e| failed("create", folder, e))?;
        let token = match seize(folder) {
            Ok(token) => token,
            Err(e) => {
                remove_empty(&made);
                return Err(e);
            }
        };
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            token,
            lost: AtomicBool::new(false),
        });
        let (stop, stopped) = mpsc::channel();
        let renewed = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(RENEWED_EVERY) == Err(RecvTimeoutError::Timeout) {
                if renewed.renew() {
                    continue;
                }
                when_lost();
                break;
            }
        });
        Ok(Self {
            shared,
            made,
            renewing: Some((stop, thread)),
        })
    }

    /// Claims a folder that others hold for moments: waits until it is free, or for so long.
    ///
    /// # Errors
    /// Those of [`Claim::take`].
    pub fn wait_for(folder: &Path, patience: Duration) -> Result<Self> {
        let start = Instant::now();
        loop {
            match Self::take(folder, || {}) {
                Err(Error::User(UserError::InUse { .. })) if start.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                claim => return claim,
            }
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// Looks whether the folder is still this process's: to be asked before anything is written there.
    ///
    /// # Errors
    /// [`Error::ClaimLost`].
    pub fn check(&self) -> Result<()> {
        self.shared.check()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.renewing.take() {
            drop(stop);
            // A panic there has been reported.
            let _ = thread.join();
        }
        let Shared { folder, token, .. } = &*self.shared;
        if self.check().is_ok() {
            // What cannot be removed is stale when this process has ended.
            let _ = remove(folder, token);
        }
        remove_empty(&self.made);
    }
}

impl Shared {
    fn check(&self) -> Result<()> {
        let found = read_owner(&self.folder);
        let by = match found {
            Ok(Some(owner)) if owner.token == self.token => None,
            Ok(Some(owner)) => Some(owner.describe()),
            Ok(None) => Some("nobody".to_owned()),
            // A disk that does not answer has not given the folder to anybody.
            Err(_) => None,
        };
        if let Some(by) = by {
            self.lost.store(true, Ordering::Relaxed);
            let path = self.folder.clone();
            return Err(Error::ClaimLost { path, by });
        }
        match self.lost.load(Ordering::Relaxed) {
            false => Ok(()),
            true => Err(Error::ClaimLost {
                path: self.folder.clone(),
                by: "another process".to_owned(),
            }),
        }
    }

    /// False if the claim is somebody else's.
    fn renew(&self) -> bool {
        if self.check().is_err() {
            return false;
        }
        let place = self.folder.join(CLAIM_FOLDER);
        // What fails now is tried again; after a minute of failures others may take over, which the check finds.
        let renewed = write_owner(&place, &self.token);
        renewed.is_ok() || self.check().is_ok()
    }
}

/// The living process that holds a claim on a folder, if there is one.
///
/// # Errors
/// [`Error::Io`] if the disk does not answer.
pub fn holder(folder: &Path) -> Result<Option<Owner>> {
    let read = |e| failed("read", &folder.join(CLAIM_FOLDER), e);
    let Some(owner) = read_owner(folder).map_err(read)? else {
        return Ok(None);
    };
    let now = now_on(folder).map_err(read)?;
    Ok((!owner.is_stale(now)).then_some(owner))
}

/// Puts a claim of this process into the folder and returns its token.
fn seize(folder: &Path) -> Result<String> {
    let io = |e| failed("claim", folder, e);
    let place = folder.join(CLAIM_FOLDER);
    let mut builder = tempfile::Builder::new();
    let staged = builder.prefix(ASIDE).tempdir_in(folder).map_err(io)?;
    let name = staged.path().file_name().unwrap_or_default();
    let token = format!("{}-{}", name.to_string_lossy(), std::process::id());
    let mut holder = None;
    for _ in 0..TRIES {
        write_owner(staged.path(), &token).map_err(io)?;
        let renamed = std::fs::rename(staged.path(), &place);
        let owner = match read_owner(folder).map_err(io)? {
            // On network file systems a rename may succeed and be reported as failed.
            Some(owner) if owner.token == token => {
                // Its folder has moved; there is nothing left to remove.
                let _ = staged.keep();
                return Ok(token);
            }
            Some(owner) => owner,
            None => match renamed {
                // It was left in this moment.
                Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                    continue;
                }
                Err(e) => return Err(io(e)),
                Ok(()) => return Err(io(ErrorKind::NotFound.into())),
            },
        };
        let now = now_on(folder).map_err(io)?;
        if !owner.is_stale(now) {
            return Err(in_use(folder, owner.describe()));
        }
        if !take_away(folder, &owner, now).map_err(io)? {
            std::thread::sleep(Duration::from_millis(20));
        }
        holder = Some(owner);
    }
    let holder = holder.map_or_else(|| "several processes".to_owned(), |owner| owner.describe());
    Err(in_use(folder, holder))
}

/// Removes a stale claim, unless another process is at it or it is no longer the one that was seen.
fn take_away(folder: &Path, seen: &Owner, now: f64) -> io::Result<bool> {
    let mark = folder.join(CLAIM_FOLDER).join(TAKEOVER);
    match std::fs::create_dir(&mark) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            let age = now - modified(&mark).unwrap_or(now);
            if age > STALE_AFTER_S {
                // Whoever took over was killed in the middle.
                let _ = std::fs::remove_dir(&mark);
            }
            return Ok(false);
        }
        Err(e) => return Err(e),
    }
    // From here on nobody else moves this claim. It may be another one than the one that was seen.
    if read_owner(folder)?.is_some_and(|owner| owner.token == seen.token) {
        remove(folder, &seen.token)?;
        return Ok(true);
    }
    let _ = std::fs::remove_dir(&mark);
    Ok(false)
}

/// Takes a claim out of its place in one step, then deletes it.
fn remove(folder: &Path, token: &str) -> io::Result<()> {
    let aside = folder.join(format!("{ASIDE}left-{token}"));
    std::fs::rename(folder.join(CLAIM_FOLDER), &aside)?;
    std::fs::remove_dir_all(aside)
}

/// `None` if there is no claim.
fn read_owner(folder: &Path) -> io::Result<Option<Owner>> {
    let place = folder.join(CLAIM_FOLDER);
    match std::fs::read(place.join(OWNER_FILE)) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(owner) => Ok(Some(owner)),
            // Written by nobody who can renew it.
            Err(_) => Ok(Some(Owner {
                host: "an unknown host".to_owned(),
                process: 0,
                started: 0,
                namespace: String::new(),
                time: modified(&place.join(OWNER_FILE))?,
                token: String::new(),
            })),
        },
    }
}

/// Writes the owner of a claim whose folder is there, with the time that the disk gives the file.
fn write_owner(claim: &Path, token: &str) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".owner-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(claim)?;
    let time = seconds(file.as_file().metadata()?.modified()?);
    let owner = Owner::this_process(token.to_owned(), time);
    serde_json::to_writer(&mut file, &owner)?;
    file.persist(claim.join(OWNER_FILE)).map_err(|e| e.error)?;
    Ok(())
}

/// The time by the clock of the disk that a folder lies on.
fn now_on(folder: &Path) -> io::Result<f64> {
    let file = tempfile::Builder::new().prefix(ASIDE).tempfile_in(folder)?;
    Ok(seconds(file.as_file().metadata()?.modified()?))
}

fn modified(path: &Path) -> io::Result<f64> {
    Ok(seconds(std::fs::metadata(path)?.modified()?))
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64())
}

/// Makes a folder and those above it; returns those that were not there, the innermost first.
fn make_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let made = folder
        .ancestors()
        .take_while(missing)
        .map(Path::to_owned)
        .collect();
    std::fs::create_dir_all(folder)?;
    Ok(made)
}

fn remove_empty(made: &[PathBuf]) {
    for folder in made {
        // A folder with something in it stays, and with it those above.
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

fn in_use(folder: &Path, by: String) -> Error {
    let path = folder.to_owned();
    UserError::InUse { path, by }.into()
}

fn refuse(folder: &Path, reason: String) -> Error {
    let path = folder.to_owned();
    UserError::Folder { path, reason }.into()
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    let path = path.to_owned();
    Error::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn edit(folder: &Path, change: impl FnOnce(&mut Owner)) {
        let mut owner = read_owner(folder).unwrap().unwrap();
        change(&mut owner);
        let path = folder.join(CLAIM_FOLDER).join(OWNER_FILE);
        std::fs::write(path, serde_json::to_string(&owner).unwrap()).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_second_claim_names_the_first_and_a_released_one_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("runs/a");
        let claim = Claim::take(&folder, || {}).unwrap();
        claim.check().unwrap();
        let error = Claim::take(&folder, || {}).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let expected = format!("in use by process {}", std::process::id());
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert_eq!(holder(&folder).unwrap().unwrap().process, std::process::id());
        assert_eq!(names(&folder), [CLAIM_FOLDER]);
        drop(claim);
        assert!(holder(&folder).is_err() || holder(&folder).unwrap().is_none());
        assert!(
            names(dir.path()).is_empty(),
            "folders made for the claim alone go with it"
        );
    }

    #[test]
    fn a_folder_in_use_stays_when_it_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a");
        let claim = Claim::take(&folder, || {}).unwrap();
        std::fs::write(folder.join("config.toml"), "").unwrap();
        drop(claim);
        assert_eq!(names(&folder), ["config.toml"]);
    }

    #[test]
    fn one_of_many_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        if let Ok(claim) = Claim::take(dir.path(), || {}) {
                            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            claim.check().unwrap();
                            held.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert!(names(dir.path()).is_empty());
    }

    #[test]
    fn a_dead_process_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("sh")
            .args(["-c", "exit 0"])
            .spawn()
            .unwrap();
        let process = child.id();
        let claim = Claim::take(dir.path(), || {}).unwrap();
        // A zombie first, then nobody.
        for _ in 0..2 {
            edit(dir.path(), |owner| owner.process = process);
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(holder(dir.path()).unwrap(), None);
            child.wait().unwrap();
        }
        // The number alone is not the process.
        edit(dir.path(), |owner| {
            owner.process = std::process::id();
            owner.started -= 1000;
        });
        let second = Claim::take(dir.path(), || {}).unwrap();
        assert_eq!(claim.check().unwrap_err().exit_code(), 3);
        second.check().unwrap();
        drop(claim);
        second.check().unwrap();
    }

    #[test]
    fn another_host_is_believed_for_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::take(dir.path(), || {}).unwrap();
        edit(dir.path(), |owner| {
            owner.host = "elsewhere".to_owned();
            owner.process = 1;
        });
        let error = Claim::take(dir.path(), || {}).unwrap_err();
        assert!(
            error.to_string().ends_with("in use by process 1 on elsewhere"),
            "{error}"
        );
        edit(dir.path(), |owner| owner.time -= STALE_AFTER_S + 1.0);
        // A second process that died while it took over delays the next by no more than its own minute.
        let second = Claim::take(dir.path(), || {}).unwrap();
        drop((claim, second));
    }

    #[test]
    fn the_loser_hears_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let claim = Claim::take(dir.path(), || {}).unwrap();
        edit(dir.path(), |owner| owner.token = "other".to_owned());
        assert!(!claim.shared.renew());
        let error = claim.check().unwrap_err();
        assert!(matches!(error, Error::ClaimLost { .. }));
        drop(claim);
        assert_eq!(names(dir.path()), [CLAIM_FOLDER], "the other's claim stays");
    }

    #[test]
    fn a_file_is_no_folder_and_a_torn_claim_is_somebodys() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(Claim::take(&file, || {}).unwrap_err().exit_code(), 2);
        let folder = dir.path().join("a");
        std::fs::create_dir_all(folder.join(CLAIM_FOLDER)).unwrap();
        std::fs::write(folder.join(CLAIM_FOLDER).join(OWNER_FILE), "{").unwrap();
        assert_eq!(Claim::take(&folder, || {}).unwrap_err().exit_code(), 2);
    }
}
