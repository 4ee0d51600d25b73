using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core.Pasids.Tests;

/// <summary>What every test makes: an allocator whose drains are waited for not at all unless the test says so.</summary>
internal static class Support
{
    public static PasidAllocator NewAllocator(
        uint capacity = 64, TimeSpan patience = default, TimeProvider? time = null)
    {
        PasidAllocator allocator = new(new()
        {
            DrainPatience = patience,
            TimeProvider = time ?? TimeProvider.System,
            Shards = 1,
        });
        allocator.TryInstallCapacity(capacity).ShouldBe(Errno.Success);
        return allocator;
    }

    public static PasidSet NewSet(this PasidAllocator allocator, uint quota, object? token = null, PasidQuota? account = null)
    {
        allocator.TryCreateSet(new() { Quota = quota, Token = token, Account = account }, out PasidSet? set).ShouldBe(Errno.Success);
        return set!;
    }

    public static Ioasid Allocate(this PasidSet set, in PasidRequest request = default)
    {
        PasidRequest asked = request.First.IsPresent ? request : new();
        set.TryAllocate(asked, out Ioasid ioasid).ShouldBe(Errno.Success);
        return ioasid!;
    }

    public static Errno TryAllocate(this PasidSet set) => set.TryAllocate(new(), out _);
}

/// <summary>A user in hardware that a test holds in its hand.</summary>
internal sealed class FakeUser(string name = "fake device", bool drained = true) : IPasidDrain
{
    private int _stops;

    public string Name => name;

    public bool Drained { get; set; } = drained;

    public Errno StopAnswer { get; set; }

    public bool IsStopped { get; private set; }

    public int Stops => _stops;

    public Errno Stop(Ioasid ioasid)
    {
        ioasid.Set.Lock.IsHeld.ShouldBeFalse();
        _ = Interlocked.Increment(ref _stops);
        IsStopped |= StopAnswer == Errno.Success;
        return StopAnswer;
    }

    public bool IsDrained(Ioasid ioasid, out string? holds)
    {
        ioasid.Set.Lock.IsHeld.ShouldBeFalse();
        holds = Drained ? null : "3 descriptors";
        return Drained;
    }
}

/// <summary>Writes events down.</summary>
internal sealed class Log : IPasidObserver
{
    public List<(PasidEventKind Kind, Pasid Pasid)> Events { get; } = [];

    public Action<PasidEventKind, Ioasid>? Also { get; init; }

    public void OnPasidEvent(PasidEventKind kind, Ioasid ioasid)
    {
        ioasid.Set.Lock.IsHeld.ShouldBeFalse();
        lock (Events)
        {
            Events.Add((kind, ioasid.Pasid));
        }

        Also?.Invoke(kind, ioasid);
    }
}
