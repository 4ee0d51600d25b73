namespace Ioasis.Core;

/// <summary>What happened to an IOASID of a set.</summary>
internal enum PasidEventKind
{
    /// <summary>It is about to be there: it has its number, but is neither found nor referenced yet.</summary>
    Allocated,

    /// <summary>A memory map was assigned to it.</summary>
    Bound,

    /// <summary>Its memory map was taken away.</summary>
    Unbound,

    /// <summary>It was freed: nobody gets a reference any more, and who holds one is to let go.</summary>
    Freed,

    /// <summary>The last reference is gone and every drain is through: the number may come again from now on.</summary>
    Recycled,
}

/// <summary>Gets the events of a set.</summary>
internal interface IPasidObserver
{
    /// <summary>
    /// Something happened. Runs in the thread that did it, outside of every lock of the allocator; must not throw. The events
    /// of one IOASID come in the order of <see cref="PasidEventKind"/>, bound and unbound any number of times, unless the calls
    /// that cause them overlap.
    /// </summary>
    void OnPasidEvent(PasidEventKind kind, Ioasid ioasid);
}

/// <summary>
/// Somebody who uses an IOASID in hardware, or on whose hardware it is used: translations in flight, a device's translation
/// cache, page requests queued and answered, descriptors accepted and not completed. It takes part in the drain: the number
/// is not given again before every participant says that it is done (S2.1, S1.8).
/// </summary>
/// <remarks>Thread-safe. Called without any lock of the allocator; may block in <see cref="Stop"/>.</remarks>
internal interface IPasidDrain
{
    /// <summary>Who this is, for people who look for what holds up a drain.</summary>
    string Name { get; }

    /// <summary>
    /// Lets nothing new begin: when it returns success, no use of the IOASID starts any more. Called again after a failure,
    /// and harmless to call twice.
    /// </summary>
    /// <returns>Success, or why it could not be stopped: then the drain goes on and tries again.</returns>
    Primitives.Errno Stop(Ioasid ioasid);

    /// <summary>Whether everything that began has ended. Once true after a successful stop, it stays true. Does not wait.</summary>
    /// <param name="ioasid">The IOASID.</param>
    /// <param name="holds">If not: what it waits for, for people.</param>
    bool IsDrained(Ioasid ioasid, out string? holds);
}

/// <summary>A drain that has not ended in time.</summary>
/// <param name="Ioasid">The IOASID, which stays taken.</param>
/// <param name="Participant">Who holds it up: <see cref="IPasidDrain.Name"/>.</param>
/// <param name="Holds">What that one waits for.</param>
/// <param name="Duration">Since when, at the time of the report.</param>
internal sealed record PasidDrainReport(Ioasid Ioasid, string Participant, string Holds, TimeSpan Duration);
