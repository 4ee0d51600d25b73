namespace Ioasis.Core;

/// <summary>
/// Mistakes that such code is likely to have, made on purpose: the tests switch them on one at a time and must find each. Off
/// everywhere else; no public option reaches them.
/// </summary>
[Flags]
internal enum PasidMutation
{
    None = 0,

    /// <summary>An IOASID is freed without waiting for its users (S2.1).</summary>
    FreedWithoutDrain = 1,

    /// <summary>The quota is compared in one critical section and charged in another (S0.1).</summary>
    QuotaCheckedOutsideLock = 2,

    /// <summary>A failed allocation gives back a number that it did not take (S2.8).</summary>
    UnwindFreesForeignNumber = 4,

    /// <summary>A private number stays taken when its IOASID has gone (S0.9).</summary>
    GuestNumberLeaked = 8,

    /// <summary>A reference is handed out whatever the state (S1.3).</summary>
    ReferenceFromAnyState = 16,

    /// <summary>A destroyed set gives back its whole quota, that of IDs which are still held included (S0.11).</summary>
    WholeQuotaReturned = 32,

    /// <summary>A handle whose life is over acts on whatever has its number now (S0.15).</summary>
    LifeNotCompared = 64,
}
