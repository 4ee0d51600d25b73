using Ioasis.Hardware;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <summary>A cached device context, with what follows from it.</summary>
internal sealed class CachedDevice(uint deviceId, in DeviceContextData data, AddressSpace? guestSpace, DeviceCounters? counters)
{
    public readonly DeviceContextData Data = data;

    public uint DeviceId { get; } = deviceId;

    /// <summary>The space of translated requests with T2GPA: no first stage.</summary>
    public AddressSpace? GuestSpace { get; } = guestSpace;

    public DeviceCounters? Counters { get; } = counters;
}

/// <summary>
/// All that a request of one device and process needs before its address is looked at: steps 1 to 16 of section 2.3, done once.
/// Immutable; the directory caches of the model consist of these.
/// </summary>
internal sealed class TranslationContext
{
    /// <summary>See <see cref="KeyOf"/>.</summary>
    public readonly ulong Key;

    /// <summary>IOVAs with any of these bits after adding <see cref="RangeBias"/> are out of the first stage's range.</summary>
    public readonly ulong RangeMask;
    public readonly ulong RangeBias;

    /// <summary>Where translations are cached; null if nothing translates.</summary>
    public readonly AddressSpace? Space;
    public readonly DeviceCounters? Counters;

    /// <summary>Position in <see cref="IotlbValue"/> of the permissions of a supervisor; negative without ENS.</summary>
    public readonly int SupervisorShift;

    // Neither stage translates: Space is null.
    public readonly byte PassThroughSizeLog2;
    public readonly ulong PassThroughMask;

    public readonly CachedDevice Device;
    public readonly FirstStage Stage;
    public readonly uint Pscid;
    public readonly bool UsesDefaultProcess;
    public readonly bool HasProcessContext;

    /// <summary>Tables of 64-bit little-endian entries in the first stage and no MSI page table: see <c>TryWalkFast</c>.</summary>
    public readonly bool HasPlainTables;
    public readonly int FirstLevels;
    public readonly ulong FirstRoot;

    /// <summary>0 if the second stage is Bare.</summary>
    public readonly int SecondLevels;
    public readonly ulong SecondRoot;

    /// <summary>What a second-stage leaf must have for the page of a first-stage table.</summary>
    public readonly ulong ImplicitRight;

    public TranslationContext(ulong key, CachedDevice device, in ResolvedProcess process, AddressSpace? space, int passThroughSizeLog2, ulong passThroughMask)
    {
        Key = key;
        Device = device;
        Counters = device.Counters;
        Stage = process.Stage;
        Pscid = process.Pscid;
        UsesDefaultProcess = process.UsesDefaultProcess;
        HasProcessContext = process.HasProcessContext;
        Space = space;
        PassThroughSizeLog2 = (byte)passThroughSizeLog2;
        PassThroughMask = passThroughMask;
        SupervisorShift = !process.AllowsSupervisor ? -1
            : process.Stage.SupervisorUserMemory ? IotlbValue.SupervisorSumShift : IotlbValue.SupervisorShift;

        bool plain = !process.Stage.IsBare && !device.Data.Has(DeviceTranslationControl.SxlBit | DeviceTranslationControl.FirstStageBigEndianBit);
        HasPlainTables = plain && TablePointer.Mode(device.Data.Msiptp) == Msiptp.ModeOff;
        FirstLevels = plain ? 3 + TablePointer.Mode(process.Stage.Iosatp) - Iosatp.ModeSv39 : 0;
        FirstRoot = TablePointer.Address(process.Stage.Iosatp);
        SecondLevels = device.Data.HasSecondStage ? 3 + TablePointer.Mode(device.Data.Iohgatp) - Iohgatp.ModeSv39x4 : 0;
        SecondRoot = TablePointer.Address(device.Data.Iohgatp);
        ImplicitRight = PageTableEntry.ValidBit | PageTableEntry.ReadBit | PageTableEntry.UserBit | PageTableEntry.AccessedBit
            | (device.Data.Has(DeviceTranslationControl.FirstStageAdUpdateBit) ? PageTableEntry.WriteBit | PageTableEntry.DirtyBit : 0);

        // Canonical: sign-extended Sv39 to Sv57, zero-extended Sv32; else the second stage's width, at most 59 bits.
        bool sxl = device.Data.Has(DeviceTranslationControl.SxlBit);
        if (process.Stage.IsBare)
        {
            // With SXL a guest has 34 bits of address, whatever its tables could map (section 2.1.3.1).
            RangeMask = ~((1ul << (sxl && device.Data.HasSecondStage ? 34 : 59)) - 1);
        }
        else if (sxl)
        {
            RangeMask = ~0xffff_fffful;
        }
        else
        {
            int bits = 39 + (9 * (TablePointer.Mode(process.Stage.Iosatp) - Iosatp.ModeSv39));
            RangeBias = 1ul << (bits - 1);
            RangeMask = ~((1ul << bits) - 1);
        }
    }

    /// <summary>Set in keys with a process_id; beyond every device ID, so that none that is too wide looks like such a key.</summary>
    public const ulong HasProcessBit = 1ul << 63;

    /// <summary>device_id, process_id and whether there is one.</summary>
    public static ulong KeyOf(uint deviceId, bool hasProcess, uint processId) =>
        hasProcess ? deviceId | ((ulong)processId << 24) | HasProcessBit : deviceId;

    /// <summary>The device of a key.</summary>
    public uint DeviceId => (uint)Key & 0xff_ffff;
}

/// <summary>The first stage of a request, and where it came from (steps 9 to 16 of section 2.3).</summary>
internal struct ResolvedProcess
{
    public FirstStage Stage;
    public uint Pscid;

    /// <summary>The request had no process_id and uses process 0 (DPE).</summary>
    public bool UsesDefaultProcess;

    /// <summary>A process context was read.</summary>
    public bool HasProcessContext;

    /// <summary>Supervisor requests are allowed: ENS, or no process context.</summary>
    public bool AllowsSupervisor;
}
