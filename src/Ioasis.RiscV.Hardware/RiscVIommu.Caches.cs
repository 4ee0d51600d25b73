using Ioasis.Hardware;
using Ioasis.Platform;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Address-translation caches of finite geometry (section 2.8) and their invalidation.</content>
public sealed partial class RiscVIommu
{
    // More address spaces than this at a time, and all caches start over: garbage tables make them without end.
    private const int MaxSpaces = 1 << 16;

    // Changes of caches. The last lock to be taken.
    private readonly IoLock _cacheLock = new();
    private readonly ContextTable<CachedDevice> _devices;
    private readonly ContextTable<TranslationContext> _contexts;
    private readonly Iotlb? _iotlb;
    private readonly HostileCache? _hostile;
    private readonly Dictionary<SpaceKey, AddressSpace> _spaces = [];
    private int _spaceCount;
    private readonly Dictionary<uint, List<AddressSpace>> _guestSpaces = [];
    private readonly List<AddressSpace> _hostSpaces = [];

    // Moves with each invalidation: what was read from memory before may not be put into a cache after.
    private long _invalidationSequence;

    /// <summary>An IOTINVAL command (section 3.1.1).</summary>
    internal struct TranslationInvalidation
    {
        public bool SecondStage;
        public bool HasGscid;
        public uint Gscid;
        public bool HasPscid;
        public uint Pscid;
        public bool HasAddress;
        public bool NonLeaf;

        /// <summary>First byte of the range.</summary>
        public ulong Address;

        /// <summary>log2 of the bytes of the range, 12 to 64.</summary>
        public int SizeLog2;
    }

    /// <summary>Locates the device-context, in a cache or in memory. A failure is in <c>request.Cause</c>.</summary>
    private bool LocateDevice(Configuration configuration, ref Request request, out CachedDevice? cached, out DeviceContextData device)
    {
        cached = FindDevice(request.DeviceId);
        if (cached is not null)
        {
            device = cached.Data;
            return true;
        }

        if (_hostile is { } hostile)
        {
            return LocateDeviceHostile(hostile, configuration, ref request, out device);
        }

        if (!WalkDeviceDirectory(configuration, ref request, out device))
        {
            return false;
        }

        if (!_devices.IsEmpty)
        {
            using (_cacheLock.Acquire())
            {
                if (request.FillSequence == _invalidationSequence)
                {
                    AddressSpace? guest = device.Has(DeviceTranslationControl.T2gpaBit)
                        ? SpaceOf(new(HasGscid: true, device.Gscid, HasPscid: false, 0), InterruptFiles.Of(device))
                        : null;
                    cached = new(request.DeviceId, device, guest, CountersOf(request.DeviceId));
                    _devices.Add(request.DeviceId, cached);
                }
            }
        }

        return true;
    }

    private CachedDevice? FindDevice(uint deviceId)
    {
        CachedDevice?[] slots = _devices.Slots;
        int index = _devices.IndexOf(deviceId);
        CachedDevice? found = Volatile.Read(ref slots[index]);
        if (found is null || found.DeviceId != deviceId)
        {
            found = Volatile.Read(ref slots[index ^ 1]);
        }

        return found is not null && found.DeviceId == deviceId ? found : null;
    }

    private TranslationContext? FindContext(ulong key)
    {
        TranslationContext?[] slots = _contexts.Slots;
        int index = _contexts.IndexOf(key);
        TranslationContext? found = Volatile.Read(ref slots[index]);
        if (found is null || found.Key != key)
        {
            found = Volatile.Read(ref slots[index ^ 1]);
        }

        return found is not null && found.Key == key ? found : null;
    }

    // Remembers what steps 1 to 16 found.
    private TranslationContext? AddContext(in Request request, CachedDevice? device, in ResolvedProcess process)
    {
        if (_contexts.IsEmpty || device is null)
        {
            return null;
        }

        using (_cacheLock.Acquire())
        {
            if (request.FillSequence != _invalidationSequence)
            {
                return null;
            }

            bool guest = device.Data.HasSecondStage;
            AddressSpace? space = process.Stage.IsBare && !guest
                ? null
                : SpaceOf(
                    new(guest, guest ? device.Data.Gscid : 0, !process.Stage.IsBare, process.Stage.IsBare ? 0 : process.Pscid),
                    InterruptFiles.Of(device.Data));
            int size = (int)ulong.Log2(Math.Min(Options.BareFirstStageSize, Options.BareSecondStageSize));
            TranslationContext context = new(
                TranslationContext.KeyOf(request.DeviceId, request.HadProcess, request.ProcessId), device, process, space, size,
                (Options.Deviations & ReferenceDeviations.BareAddress56Bits) != 0 ? (1ul << 56) - 1 : ulong.MaxValue);
            _contexts.Add(context.Key, context);
            return context;
        }
    }

    // Cache lock held.
    private AddressSpace SpaceOf(SpaceKey key, InterruptFiles files)
    {
        _ = _spaces.TryGetValue(key, out AddressSpace? first);
        for (AddressSpace? known = first; known is not null; known = known.Sibling)
        {
            if (known.Files == files)
            {
                return known;
            }
        }

        if (_spaceCount >= MaxSpaces)
        {
            ForgetSpaces();
            first = null;
        }

        AddressSpace space = new(key, files) { Sibling = first };
        _spaces[key] = space;
        _spaceCount++;
        if (!key.HasGscid)
        {
            _hostSpaces.Add(space);
        }
        else if (_guestSpaces.TryGetValue(key.Gscid, out List<AddressSpace>? list))
        {
            list.Add(space);
        }
        else
        {
            _guestSpaces.Add(key.Gscid, [space]);
        }

        return space;
    }

    private void ForgetSpaces()
    {
        _invalidationSequence++;
        foreach (AddressSpace first in _spaces.Values)
        {
            for (AddressSpace? space = first; space is not null; space = space.Sibling)
            {
                _ = _iotlb?.RemoveAll(space);
            }
        }

        _devices.Clear();
        _contexts.Clear();
        _spaces.Clear();
        _spaceCount = 0;
        _guestSpaces.Clear();
        _hostSpaces.Clear();
    }

    // A translation that succeeded goes to the IOTLB, unless it is one that caches are to stay oblivious of.
    private void FillIotlb(in Request request, AddressSpace space, DeviceCounters? counters, in Outcome outcome, in FirstStage stage)
    {
        if (_iotlb is not { } iotlb || outcome.IsMrif || request.Kind == DmaKind.TranslationRequest)
        {
            return;
        }

        ulong attributes = AttributesOf(outcome, stage.IsBare);
        using (_cacheLock.Acquire())
        {
            if (request.FillSequence == _invalidationSequence
                && iotlb.Insert(
                    space, request.Iova, outcome.SpanLog2, stage.IsBare ? 0 : outcome.First.SpanLog2, outcome.Address, attributes))
            {
                counters?.CountEviction();
            }
        }
    }

    private static ulong AttributesOf(in Outcome outcome, bool bareFirstStage)
    {
        ulong both = outcome.First.Pte & outcome.Second.Pte;
        ulong allowed = ((both & PageTableEntry.ReadBit) != 0 ? 1ul << IotlbValue.ReadOffset : 0)
            | ((both & PageTableEntry.WriteBit) != 0 && (both & PageTableEntry.DirtyBit) != 0 ? 1ul << IotlbValue.WriteOffset : 0)
            | ((both & PageTableEntry.ExecuteBit) != 0 ? 1ul << IotlbValue.ExecuteOffset : 0);
        ulong attributes = ((ulong)outcome.Pbmt << IotlbValue.PbmtShift) | (outcome.IsMsi ? IotlbValue.MsiBit : 0);
        if (bareFirstStage)
        {
            return attributes | (allowed << IotlbValue.UserShift) | (allowed << IotlbValue.SupervisorShift)
                | (allowed << IotlbValue.SupervisorSumShift);
        }

        // User pages are for users, and for supervisors with SUM except to execute (section 2.2.3.1).
        return outcome.First.Has(PageTableEntry.UserBit)
            ? attributes | (allowed << IotlbValue.UserShift)
                | ((allowed & ~(1ul << IotlbValue.ExecuteOffset)) << IotlbValue.SupervisorSumShift)
            : attributes | (allowed << IotlbValue.SupervisorShift) | (allowed << IotlbValue.SupervisorSumShift);
    }

    private void InvalidateTranslations(in TranslationInvalidation invalidation)
    {
        int removed;
        using (_cacheLock.Acquire())
        {
            _invalidationSequence++;
            removed = _hostile is { } hostile ? hostile.Invalidate(invalidation) : RemoveTranslations(invalidation);
        }

        CommandKind kind = (invalidation.SecondStage, invalidation.HasAddress) switch
        {
            (false, false) => CommandKind.InvalidateFirstStage,
            (false, true) => CommandKind.InvalidateFirstStageAddress,
            (true, false) => CommandKind.InvalidateSecondStage,
            _ => CommandKind.InvalidateSecondStageAddress,
        };
        CountCommand(kind, removed);
    }

    private int RemoveTranslations(in TranslationInvalidation invalidation)
    {
        if (_iotlb is not { } iotlb)
        {
            return 0;
        }

        int removed = 0;
        if (invalidation.SecondStage)
        {
            // Entries are tagged with IOVAs: a guest physical address does not find them, so all of the VM's go (section 3.1.1).
            foreach ((uint gscid, List<AddressSpace> spaces) in _guestSpaces)
            {
                if (!invalidation.HasGscid || gscid == invalidation.Gscid)
                {
                    foreach (AddressSpace space in spaces)
                    {
                        removed += iotlb.RemoveAll(space);
                    }
                }
            }

            return removed;
        }

        if (invalidation.HasPscid)
        {
            SpaceKey key = new(invalidation.HasGscid, invalidation.HasGscid ? invalidation.Gscid : 0, HasPscid: true, invalidation.Pscid);
            _ = _spaces.TryGetValue(key, out AddressSpace? space);
            for (; space is not null; space = space.Sibling)
            {
                removed += Remove(iotlb, space, invalidation);
            }

            return removed;
        }

        List<AddressSpace>? all = _hostSpaces;
        if (invalidation.HasGscid)
        {
            _ = _guestSpaces.TryGetValue(invalidation.Gscid, out all);
        }

        foreach (AddressSpace space in all ?? [])
        {
            removed += Remove(iotlb, space, invalidation);
        }

        return removed;
    }

    private static int Remove(Iotlb iotlb, AddressSpace space, in TranslationInvalidation invalidation) => invalidation.HasAddress
        ? iotlb.Remove(space, invalidation.Address, invalidation.SizeLog2)
        : iotlb.RemoveAll(space);

    private void InvalidateDevices(uint? device)
    {
        using (_cacheLock.Acquire())
        {
            _invalidationSequence++;
            _hostile?.InvalidateDevices(device);
            if (device is not { } id)
            {
                _devices.Clear();
                _contexts.Clear();
            }
            else
            {
                _devices.RemoveWhere(entry => entry.DeviceId == id);
                _contexts.RemoveWhere(entry => entry.DeviceId == id);
            }
        }

        CountCommand(CommandKind.InvalidateDeviceDirectory);
    }

    private void InvalidateProcess(uint device, uint process)
    {
        using (_cacheLock.Acquire())
        {
            _invalidationSequence++;
            _hostile?.InvalidateProcess(device, process);
            ulong key = TranslationContext.KeyOf(device, hasProcess: true, process);
            _contexts.RemoveWhere(entry => entry.Key == key
                || (process == 0 && entry.UsesDefaultProcess && entry.DeviceId == device));
        }

        CountCommand(CommandKind.InvalidateProcessDirectory);
    }

    // Contexts are decoded with fctl and ddtp in mind; section 5.5 lets caches keep their entries, and these do not.
    private void ForgetContexts()
    {
        using (_cacheLock.Acquire())
        {
            _invalidationSequence++;
            _devices.Clear();
            _contexts.Clear();
        }
    }
}
