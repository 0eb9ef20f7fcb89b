//! Makes keys and certificates. No I/O but for randomness.

use super::{
    decide::Step,
    keyring::{Keyring, Pair, Staged},
};
use k8s_openapi::jiff::{Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

const DAY: i64 = 24 * 3600;
const AUTHORITY_LIFE: i64 = 3650 * DAY;
const LEAF_LIFE: i64 = 90 * DAY;
/// Clocks differ.
const BACKDATED: i64 = DAY;

#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error(transparent)]
    Make(#[from] rcgen::Error),
    #[error("the time {0} is out of range")]
    Time(i64),
}

/// The keyring after the step.
pub(super) fn perform(step: Step, keyring: Option<Keyring>, names: &[String], now: i64) -> Result<Keyring, IssueError> {
    let Some(mut keyring) = keyring.filter(|_| step != Step::Create) else {
        let authority = authority(now)?;
        return Ok(Keyring { leaf: leaf(&authority, names, now)?, authority, next: None, previous: None });
    };
    match step {
        Step::Create | Step::Nothing => {}
        Step::Stage => keyring.next = Some(Staged { pair: authority(now)?, since: now }),
        Step::Promote => promote(&mut keyring, names, now)?,
        Step::Renew => keyring.leaf = leaf(&keyring.authority, names, now)?,
        Step::Forget => keyring.previous = None,
    }
    Ok(keyring)
}

fn promote(keyring: &mut Keyring, names: &[String], now: i64) -> Result<(), IssueError> {
    let Some(next) = keyring.next.take() else { return Ok(()) };
    keyring.leaf = leaf(&next.pair, names, now)?;
    let previous = std::mem::replace(&mut keyring.authority, next.pair);
    keyring.previous = Some(previous.certificate);
    Ok(())
}

fn authority(now: i64) -> Result<Pair, IssueError> {
    let key = KeyPair::generate()?;
    let certificate = authority_parameters(now)?.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Its time does not matter to what it signs.
fn authority_parameters(now: i64) -> Result<CertificateParams, IssueError> {
    let mut parameters = parameters(Vec::new(), "Rockstar plugin operator", now, AUTHORITY_LIFE)?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(parameters)
}

fn leaf(authority: &Pair, names: &[String], now: i64) -> Result<Pair, IssueError> {
    let issuer = authority_parameters(now)?;
    let issuer = Issuer::from_params(&issuer, KeyPair::from_pem(&authority.key)?);
    let key = KeyPair::generate()?;
    let mut parameters = parameters(names.to_vec(), "rockstar-operator", now, LEAF_LIFE)?;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn parameters(names: Vec<String>, common: &str, now: i64, life: i64) -> Result<CertificateParams, IssueError> {
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name.push(DnType::CommonName, common);
    let ((year, month, day), (last_year, last_month, last_day)) = (date(now - BACKDATED)?, date(now + life)?);
    parameters.not_before = rcgen::date_time_ymd(year, month, day);
    parameters.not_after = rcgen::date_time_ymd(last_year, last_month, last_day);
    Ok(parameters)
}

fn date(at: i64) -> Result<(i32, u8, u8), IssueError> {
    let date = Timestamp::from_second(at).map_err(|_| IssueError::Time(at))?.to_zoned(TimeZone::UTC).date();
    let part = |n: i8| u8::try_from(n).map_err(|_| IssueError::Time(at));
    Ok((date.year().into(), part(date.month())?, part(date.day())?))
}

/// A keyring as of now.
#[cfg(test)]
pub(super) fn fresh(names: &[String]) -> Keyring {
    perform(Step::Create, None, names, Timestamp::now().as_second()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            decide::{Facts, decide},
            keyring,
        },
        *,
    };

    fn names() -> Vec<String> {
        vec!["rockstar-operator.rockstar-system.svc".into()]
    }

    fn next(keyring: Option<Keyring>, now: i64) -> (Step, Keyring) {
        let step = decide(keyring.as_ref().map(Facts::of).as_ref(), &names(), now, true);
        (step, perform(step, keyring, &names(), now).unwrap())
    }

    #[test]
    fn ten_years_and_more_without_a_gap_in_trust() {
        let mut now = 1_800_000_000;
        let (_, mut keyring) = next(None, now);
        let (mut steps, mut bundle) = (Vec::new(), keyring.bundle());
        for _ in 0..(12 * 365) {
            now += DAY;
            let (step, after) = next(Some(keyring), now);
            let authority = &after.authority.certificate;
            assert!(keyring::signed_by(&after.leaf.certificate, authority));
            assert!(bundle.contains(authority), "who knows yesterday's bundle trusts today's leaf");
            assert!(keyring::ends(&after.leaf.certificate) > now && keyring::ends(authority) > now);
            (bundle, keyring) = (after.bundle(), after);
            if !matches!(step, Step::Nothing | Step::Renew) {
                steps.push(step);
            }
        }
        assert_eq!(steps, [Step::Stage, Step::Promote, Step::Forget]);
    }

    #[test]
    fn a_keyring_is_read_back() {
        let now = 1_800_000_000;
        let keyring = next(None, now).1;
        let staged = perform(Step::Stage, Some(keyring), &names(), now).unwrap();
        let mut all =
            perform(Step::Stage, Some(perform(Step::Promote, Some(staged), &names(), now).unwrap()), &names(), now)
                .unwrap();
        assert_eq!(Keyring::from_data(&all.to_data()).unwrap(), all);
        all.leaf.certificate = "nonsense".into();
        assert_eq!(Keyring::from_data(&all.to_data()).unwrap_err().to_string(), "tls.crt is no certificate");
    }
}
