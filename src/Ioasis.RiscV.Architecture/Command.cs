namespace Ioasis.RiscV.Architecture;

/// <summary>Major groups of commands (section 3.1, "IOMMU command opcodes").</summary>
internal enum CommandOpcode
{
    /// <summary>Invalidates page-table caches (section 3.1.1).</summary>
    Iotinval = 1,

    /// <summary>Fences (section 3.1.2).</summary>
    Iofence = 2,

    /// <summary>Invalidates directory caches (section 3.1.3).</summary>
    Iodir = 3,

    /// <summary>PCIe ATS (section 3.1.4).</summary>
    Ats = 4,
}

/// <summary><c>func3</c> of each group (section 3.1).</summary>
internal static class CommandFunction
{
    /// <summary>IOTINVAL.VMA.</summary>
    public const int IotinvalVma = 0;

    /// <summary>IOTINVAL.GVMA.</summary>
    public const int IotinvalGvma = 1;

    /// <summary>IOFENCE.C.</summary>
    public const int IofenceC = 0;

    /// <summary>IODIR.INVAL_DDT.</summary>
    public const int IodirInvalDdt = 0;

    /// <summary>IODIR.INVAL_PDT.</summary>
    public const int IodirInvalPdt = 1;

    /// <summary>ATS.INVAL.</summary>
    public const int AtsInval = 0;

    /// <summary>ATS.PRGR.</summary>
    public const int AtsPrgr = 1;
}

/// <summary>Bits of commands (section 3.1). Constants with <c>High</c> in their name belong to doubleword 1, the others to doubleword 0.</summary>
internal static class CommandBits
{
    /// <summary><c>opcode</c>.</summary>
    public const ulong OpcodeMask = 0x7f;

    /// <summary>Position of <c>func3</c>, 3 bits.</summary>
    public const int FunctionShift = 7;

    /// <summary>IOTINVAL and IOFENCE: <c>AV</c>, the address is valid.</summary>
    public const ulong AddressValidBit = 1ul << 10;

    /// <summary>IOTINVAL: position of <c>PSCID</c>, 20 bits.</summary>
    public const int PscidShift = 12;

    /// <summary>IOTINVAL: <c>PSCV</c>, the PSCID is valid.</summary>
    public const ulong PscidValidBit = 1ul << 32;

    /// <summary>IOTINVAL: <c>GV</c>, the GSCID is valid.</summary>
    public const ulong GscidValidBit = 1ul << 33;

    /// <summary>IOTINVAL: <c>NL</c>, non-leaf entries too (section 8.2).</summary>
    public const ulong NonLeafBit = 1ul << 34;

    /// <summary>IOTINVAL: position of <c>GSCID</c>, 16 bits.</summary>
    public const int GscidShift = 44;

    /// <summary>IOTINVAL: <c>S</c>, bit 73, the address is a NAPOT range (section 8.3).</summary>
    public const ulong HighRangeBit = 1ul << 9;

    /// <summary>IOTINVAL: <c>ADDR[63:12]</c> in doubleword 1 starts here.</summary>
    public const int HighAddressShift = 10;

    /// <summary>IOTINVAL: reserved in doubleword 0: 11, 43:35, 63:60.</summary>
    public const ulong IotinvalReservedMask = (1ul << 11) | (0x1fful << 35) | (0xful << 60);

    /// <summary>IOTINVAL: reserved in doubleword 1: 8:0 and 63:62.</summary>
    public const ulong HighIotinvalReservedMask = 0x1fful | (3ul << 62);

    /// <summary>IOFENCE.C: <c>WSI</c>, raise the wired interrupt.</summary>
    public const ulong FenceWiredInterruptBit = 1ul << 11;

    /// <summary>IOFENCE.C: <c>PR</c>, order previous reads.</summary>
    public const ulong FenceReadsBit = 1ul << 12;

    /// <summary>IOFENCE.C: <c>PW</c>, order previous writes.</summary>
    public const ulong FenceWritesBit = 1ul << 13;

    /// <summary>IOFENCE.C: position of <c>DATA</c>, 32 bits.</summary>
    public const int FenceDataShift = 32;

    /// <summary>IOFENCE.C: reserved in doubleword 0: 31:14.</summary>
    public const ulong FenceReservedMask = 0x3_fffful << 14;

    /// <summary>IOFENCE.C: <c>ADDR[63:2]</c> in doubleword 1, at bit 0: the address is this times 4.</summary>
    public const ulong HighFenceAddressMask = (1ul << 62) - 1;

    /// <summary>IOFENCE.C: reserved in doubleword 1: 63:62.</summary>
    public const ulong HighFenceReservedMask = 3ul << 62;

    /// <summary>IODIR and ATS: position of <c>PID</c>, 20 bits.</summary>
    public const int PidShift = 12;

    /// <summary>IODIR: <c>DV</c>, the device ID is valid.</summary>
    public const ulong DeviceValidBit = 1ul << 33;

    /// <summary>IODIR: position of <c>DID</c>, 24 bits.</summary>
    public const int DeviceShift = 40;

    /// <summary>IODIR: reserved in doubleword 0: 11:10, 32, 39:34. Doubleword 1 is reserved wholly.</summary>
    public const ulong IodirReservedMask = (3ul << 10) | (1ul << 32) | (0x3ful << 34);

    /// <summary>ATS: <c>PV</c>, the PID is valid.</summary>
    public const ulong PidValidBit = 1ul << 32;

    /// <summary>ATS: <c>DSV</c>, the segment is valid.</summary>
    public const ulong SegmentValidBit = 1ul << 33;

    /// <summary>ATS: position of <c>RID</c>, 16 bits.</summary>
    public const int RidShift = 40;

    /// <summary>ATS: position of <c>DSEG</c>, 8 bits.</summary>
    public const int SegmentShift = 56;

    /// <summary>ATS: reserved in doubleword 0: 11:10 and 39:34. Doubleword 1 is the payload.</summary>
    public const ulong AtsReservedMask = (3ul << 10) | (0x3ful << 34);

    /// <summary>20-bit fields (PSCID, PID), shifted down.</summary>
    public const ulong Mask20 = 0xf_ffff;

    /// <summary>16-bit fields (GSCID, RID), shifted down.</summary>
    public const ulong Mask16 = 0xffff;
}

/// <summary>A command (section 3.1): 16 bytes, two doublewords in the byte order of <c>fctl.BE</c>.</summary>
/// <param name="Low">Doubleword 0.</param>
/// <param name="High">Doubleword 1.</param>
internal readonly record struct Command(ulong Low, ulong High)
{
    /// <summary><c>opcode</c>.</summary>
    public CommandOpcode Opcode => (CommandOpcode)(Low & CommandBits.OpcodeMask);

    /// <summary><c>func3</c>: see <see cref="CommandFunction"/>.</summary>
    public int Function => (int)(Low >> CommandBits.FunctionShift) & 7;

    /// <summary>Makes IOTINVAL.VMA (section 3.1.1).</summary>
    /// <param name="gscid">The VM, or none: host address spaces.</param>
    /// <param name="pscid">The process, or none: all.</param>
    /// <param name="address">The address, page aligned, or none: all.</param>
    /// <param name="sizeLog2">log2 of the bytes around the address; above 12 needs <c>capabilities.S</c>.</param>
    /// <param name="nonLeaf">Non-leaf entries too; needs <c>capabilities.NL</c>.</param>
    public static Command InvalidateFirstStage(uint? gscid, uint? pscid, ulong? address, int sizeLog2 = 12, bool nonLeaf = false) =>
        Iotinval(CommandFunction.IotinvalVma, gscid, pscid, address, sizeLog2, nonLeaf);

    /// <summary>Makes IOTINVAL.GVMA (section 3.1.1).</summary>
    /// <param name="gscid">The VM, or none: all.</param>
    /// <param name="address">The guest physical address, page aligned, or none: all.</param>
    /// <param name="sizeLog2">log2 of the bytes around the address; above 12 needs <c>capabilities.S</c>.</param>
    /// <param name="nonLeaf">Non-leaf entries too; needs <c>capabilities.NL</c>.</param>
    public static Command InvalidateSecondStage(uint? gscid, ulong? address, int sizeLog2 = 12, bool nonLeaf = false) =>
        Iotinval(CommandFunction.IotinvalGvma, gscid, null, address, sizeLog2, nonLeaf);

    /// <summary>Makes IOFENCE.C (section 3.1.2).</summary>
    /// <param name="address">Where to store <paramref name="data"/> on completion, 4-byte aligned; or nowhere.</param>
    /// <param name="data">The data.</param>
    /// <param name="reads">Order previous reads.</param>
    /// <param name="writes">Order previous writes.</param>
    /// <param name="wiredInterrupt">Raise the wired interrupt.</param>
    public static Command Fence(ulong? address = null, uint data = 0, bool reads = true, bool writes = true, bool wiredInterrupt = false) => new(
        Head(CommandOpcode.Iofence, CommandFunction.IofenceC)
            | (address is null ? 0 : CommandBits.AddressValidBit | ((ulong)data << CommandBits.FenceDataShift))
            | (wiredInterrupt ? CommandBits.FenceWiredInterruptBit : 0)
            | (reads ? CommandBits.FenceReadsBit : 0)
            | (writes ? CommandBits.FenceWritesBit : 0),
        (address ?? 0) >> 2);

    /// <summary>Makes IODIR.INVAL_DDT (section 3.1.3).</summary>
    /// <param name="deviceId">The device, or none: all.</param>
    public static Command InvalidateDeviceDirectory(uint? deviceId) => new(
        Head(CommandOpcode.Iodir, CommandFunction.IodirInvalDdt) | DeviceOperand(deviceId), 0);

    /// <summary>Makes IODIR.INVAL_PDT (section 3.1.3).</summary>
    /// <param name="deviceId">The device.</param>
    /// <param name="processId">The process.</param>
    public static Command InvalidateProcessDirectory(uint deviceId, uint processId) => new(
        Head(CommandOpcode.Iodir, CommandFunction.IodirInvalPdt) | DeviceOperand(deviceId)
            | ((processId & CommandBits.Mask20) << CommandBits.PidShift),
        0);

    /// <summary>Makes ATS.INVAL (section 3.1.4).</summary>
    /// <param name="requesterId">Bus, device and function.</param>
    /// <param name="segment">The segment, or none.</param>
    /// <param name="pasid">The PASID, or none.</param>
    /// <param name="payload">Body of the Invalidation Request message.</param>
    public static Command AtsInvalidate(uint requesterId, uint? segment, uint? pasid, ulong payload) =>
        new(Head(CommandOpcode.Ats, CommandFunction.AtsInval) | AtsOperands(requesterId, segment, pasid), payload);

    /// <summary>Makes ATS.PRGR (section 3.1.4).</summary>
    /// <param name="requesterId">Bus, device and function.</param>
    /// <param name="segment">The segment, or none.</param>
    /// <param name="pasid">The PASID, or none.</param>
    /// <param name="payload">Body of the Page Request Group Response message.</param>
    public static Command AtsPageResponse(uint requesterId, uint? segment, uint? pasid, ulong payload) =>
        new(Head(CommandOpcode.Ats, CommandFunction.AtsPrgr) | AtsOperands(requesterId, segment, pasid), payload);

    private static ulong Head(CommandOpcode opcode, int function) => (ulong)opcode | ((ulong)function << CommandBits.FunctionShift);

    private static ulong DeviceOperand(uint? deviceId) =>
        deviceId is not { } id ? 0 : CommandBits.DeviceValidBit | ((ulong)(id & 0xff_ffff) << CommandBits.DeviceShift);

    private static ulong AtsOperands(uint requesterId, uint? segment, uint? pasid) =>
        ((requesterId & CommandBits.Mask16) << CommandBits.RidShift)
        | (segment is { } s ? CommandBits.SegmentValidBit | ((ulong)s << CommandBits.SegmentShift) : 0)
        | (pasid is { } p ? CommandBits.PidValidBit | ((p & CommandBits.Mask20) << CommandBits.PidShift) : 0);

    private static Command Iotinval(int function, uint? gscid, uint? pscid, ulong? address, int sizeLog2, bool nonLeaf)
    {
        ulong low = Head(CommandOpcode.Iotinval, function);
        if (gscid is { } g)
        {
            low |= CommandBits.GscidValidBit | ((g & CommandBits.Mask16) << CommandBits.GscidShift);
        }

        if (pscid is { } p)
        {
            low |= CommandBits.PscidValidBit | ((p & CommandBits.Mask20) << CommandBits.PscidShift);
        }

        if (address is not { } a)
        {
            return new(low, 0);
        }

        low |= CommandBits.AddressValidBit | (nonLeaf ? CommandBits.NonLeafBit : 0);
        ulong page = a >> 12;
        if (sizeLog2 <= 12)
        {
            return new(low, page << CommandBits.HighAddressShift);
        }

        // NAPOT: a 0 at bit X of the page number, ones below: 2^(X+1) pages (section 8.3).
        int x = sizeLog2 - 13;
        page = (page & ~((2ul << x) - 1)) | ((1ul << x) - 1);
        return new(low, (page << CommandBits.HighAddressShift) | CommandBits.HighRangeBit);
    }
}
