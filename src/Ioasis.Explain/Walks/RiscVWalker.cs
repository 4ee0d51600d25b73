using Ioasis.RiscV.Architecture;
using static System.FormattableString;

namespace Ioasis.Explain.Walks;

/// <summary>
/// The way of an address through the tables of the RISC-V IOMMU, in the order of its specification (section 2.3, "Process to translate an IOVA"): slow, and made
/// to be read. It shares no code with the model's walkers.
/// </summary>
internal sealed partial class RiscVWalker(MemoryImage memory, RegisterSnapshot registers, WalkRequest request) : Walker(memory, registers, request)
{
    private static readonly string[] s_causes = ["instruction page fault (12)", "read page fault (13)", "write page fault (15)"];
    private bool _isExtended;
    private bool _isGuest32;
    private ulong _capabilities;
    private ulong _control;
    private ulong _iohgatp;

    /// <inheritdoc/>
    protected override ulong? Go()
    {
        _capabilities = Register("CAPABILITIES", "5.3", static v => (
            [
                Field("version", v & Capabilities.VersionMask), Bit("Sv39", v, Capabilities.Sv39Bit), Bit("Sv48", v, Capabilities.Sv48Bit), Bit("Sv57", v, Capabilities.Sv57Bit),
                Bit("MSI_FLAT", v, Capabilities.MsiFlatBit), Bit("AMO_HWAD", v, Capabilities.AmoHwadBit),
            ],
            (v & Capabilities.MsiFlatBit) != 0 ? "Device contexts have 64 bytes (MSI_FLAT)." : "Device contexts have 32 bytes."), absent: Capabilities.MsiFlatBit) ?? 0;
        _isExtended = (_capabilities & Capabilities.MsiFlatBit) != 0;
        ulong control = Register("FCTL", "5.4", static v => (
            [Bit("BE", v, FeaturesControl.BigEndianBit), Bit("GXL", v, FeaturesControl.GxlBit)],
            (v & FeaturesControl.BigEndianBit) != 0 ? "Tables are big-endian." : "Tables are little-endian."), absent: 0) ?? 0;
        _isGuest32 = (control & FeaturesControl.GxlBit) != 0;
        if ((control & FeaturesControl.BigEndianBit) != 0)
        {
            Stop("Big-endian tables are not decoded.");
            return null;
        }

        ulong? pointer = Register("DDTP", "5.5", static v => (
            [new("iommu_mode", Invariant($"{v & DeviceDirectoryTablePointer.ModeMask} ({(IommuMode)(v & DeviceDirectoryTablePointer.ModeMask)})")), Field("root", PpnField.ToAddress(v))],
            "Where the device directory is."));
        return pointer is { } ddtp && FindContext(ddtp) is { } context ? Translate(context) : null;
    }

    private ulong[]? FindContext(ulong ddtp)
    {
        var mode = (IommuMode)(ddtp & DeviceDirectoryTablePointer.ModeMask);
        if (mode == IommuMode.Off)
        {
            Fail("ddtp", "5.5", null, [ddtp], [], "iommu_mode is Off: no inbound transaction is allowed (cause 256).");
            return null;
        }

        if (mode == IommuMode.Bare)
        {
            PassThrough("iommu_mode is Bare: addresses are not translated.");
            return null;
        }

        int levels = mode switch { IommuMode.OneLevel => 1, IommuMode.TwoLevel => 2, IommuMode.ThreeLevel => 3, _ => 0 };
        if (levels == 0)
        {
            Fail("ddtp", "5.5", null, [ddtp], [], "iommu_mode is reserved.");
            return null;
        }

        int bits = (_isExtended ? 6 : 7) + (9 * (levels - 1));
        uint device = Request.Requester & 0xff_ffff;
        if (bits < 24 && device >> bits != 0)
        {
            Fail("device_id", "2.3", null, [device], [], Invariant($"The directory has {levels} levels for device IDs of {bits} bits, and this one has more: transaction type disallowed (cause 260)."));
            return null;
        }

        ulong table = PpnField.ToAddress(ddtp);
        for (int level = levels - 1; level > 0; level--)
        {
            int index = DeviceDirectoryIndex.At(device, level, _isExtended);
            if (!TryDirectory(Invariant($"DDT level {level}, entry {index}"), "2.1.1", table + ((ulong)index * DirectoryEntry.Size), "DDT entry not valid (cause 258).", "DDT entry misconfigured (cause 259).", out table))
            {
                return null;
            }
        }

        return ReadContext(table, DeviceDirectoryIndex.At(device, 0, _isExtended));
    }

    private bool TryDirectory(string name, string section, ulong address, string invalid, string misconfigured, out ulong next)
    {
        next = 0;
        if (!TryRead(name, section, address, 1, out ulong[] entry))
        {
            return false;
        }

        ulong value = entry[0];
        FaultField[] fields = [Bit("V", value, DirectoryEntry.ValidBit), Field("next table", PpnField.ToAddress(value))];
        if ((value & DirectoryEntry.ValidBit) == 0)
        {
            Fail(name, section, address, entry, fields, invalid);
            return false;
        }

        if ((value & DirectoryEntry.ReservedMask) != 0)
        {
            Fail(name, section, address, entry, fields, "Reserved bits are set: " + misconfigured);
            return false;
        }

        next = PpnField.ToAddress(value);
        Pass(name, section, address, entry, fields, "Leads to the next table.");
        return true;
    }

    private ulong[]? ReadContext(ulong table, int index)
    {
        int bytes = _isExtended ? 64 : 32;
        ulong address = table + (ulong)(index * bytes);
        string name = Invariant($"device context {index}");
        if (!TryRead(name, "2.1.2", address, bytes / 8, out ulong[] context))
        {
            return null;
        }

        ulong tc = _control = context[0];
        _iohgatp = context[1];
        List<FaultField> fields =
        [
            Bit("V", tc, DeviceTranslationControl.ValidBit), Bit("EN_ATS", tc, DeviceTranslationControl.EnableAtsBit), Bit("PDTV", tc, DeviceTranslationControl.PdtValidBit),
            Bit("DPE", tc, DeviceTranslationControl.DefaultProcessBit), Bit("SADE", tc, DeviceTranslationControl.FirstStageAdUpdateBit),
            Bit("GADE", tc, DeviceTranslationControl.SecondStageAdUpdateBit), Bit("DTF", tc, DeviceTranslationControl.DisableTranslationFaultsBit),
            Field("iohgatp.MODE", (ulong)TablePointer.Mode(context[1])), Field("iohgatp.GSCID", (context[1] >> Iohgatp.GscidShift) & Iohgatp.GscidMask),
            Field("ta.PSCID", (context[2] >> DeviceTranslationAttributes.PscidShift) & DeviceTranslationAttributes.PscidMask),
            Field("fsc.MODE", (ulong)TablePointer.Mode(context[3])), Field("fsc root", TablePointer.Address(context[3])),
        ];
        if (_isExtended)
        {
            fields.AddRange([Field("msiptp.MODE", (ulong)TablePointer.Mode(context[4])), Field("msi_addr_mask", context[5]), Field("msi_addr_pattern", context[6])]);
        }

        if ((tc & DeviceTranslationControl.ValidBit) == 0)
        {
            Fail(name, "2.1.2.1", address, context, fields, "tc.V is 0: no driver has given the device a domain (cause 258).");
            return null;
        }

        if ((tc & DeviceTranslationControl.ReservedMask) != 0)
        {
            Fail(name, "2.1.2.1", address, context, fields, "Reserved bits of tc are set: DDT entry misconfigured (cause 259).");
            return null;
        }

        if ((tc & (DeviceTranslationControl.FirstStageBigEndianBit | DeviceTranslationControl.SxlBit)) != 0)
        {
            Pass(name, "2.1.2", address, context, fields, "tc.SBE or tc.SXL is 1.");
            Stop("Big-endian and 32-bit first stages are not decoded.");
            return null;
        }

        Pass(name, "2.1.2", address, context, fields, (tc & DeviceTranslationControl.DisableTranslationFaultsBit) != 0
            ? "The context is valid. DTF is 1: faults of translation are not reported." : "The context is valid.");
        return context;
    }

    private ulong? Translate(ulong[] context)
    {
        ulong first = context[3];
        bool hasDirectory = (_control & DeviceTranslationControl.PdtValidBit) != 0;
        uint? assumed = (_control & DeviceTranslationControl.DefaultProcessBit) != 0 ? 0u : null;
        if (!hasDirectory)
        {
            if (Request.Pasid is { } pasid)
            {
                Fail("process_id", "2.3", null, [pasid], [], "tc.PDTV is 0: the device has no process directory, and the request has a PASID (cause 260).");
                return null;
            }
        }
        else if ((Request.Pasid ?? assumed) is { } process)
        {
            if (FindProcess(first, process) is not { } found)
            {
                return null;
            }

            first = found;
        }
        else
        {
            Pass("process_id", "2.3", null, [], [], "The request has no PASID, and tc.DPE is 0: there is no first stage.");
            first = 0;
        }

        ulong? guest = FirstStage(first);
        return guest is not { } address ? null : IsMessage(context, address) ? Message(context, address) : SecondStage(address, "the address", Request.Access);
    }

    private ulong? FindProcess(ulong pdtp, uint process)
    {
        int levels = TablePointer.Mode(pdtp);
        if (levels == Pdtp.ModeBare)
        {
            Pass("pdtp", "2.1.2.4", null, [pdtp], [], "pdtp.MODE is Bare: there is no first stage.");
            return 0;
        }

        int bits = levels switch { Pdtp.ModePd8 => 8, Pdtp.ModePd17 => 17, Pdtp.ModePd20 => 20, _ => 0 };
        if (bits == 0 || process >> bits != 0)
        {
            Fail("pdtp", "2.1.2.4", null, [pdtp], [Field("MODE", (ulong)levels)], bits == 0
                ? "pdtp.MODE is reserved: DDT entry misconfigured (cause 259)." : Invariant($"The process directory is for PASIDs of {bits} bits, and {process} has more (cause 260)."));
            return null;
        }

        ulong table = TablePointer.Address(pdtp);
        for (int level = levels - 1; level > 0; level--)
        {
            int index = ProcessDirectoryIndex.At(process, level);
            string name = Invariant($"PDT level {level}, entry {index}");
            if (SecondStage(table + ((ulong)index * DirectoryEntry.Size), name, FaultAccess.Read) is not { } at
                || !TryDirectory(name, "2.2.1", at, "PDT entry not valid (cause 266).", "PDT entry misconfigured (cause 267).", out table))
            {
                return null;
            }
        }

        string context = Invariant($"process context {ProcessDirectoryIndex.At(process, 0)}");
        if (SecondStage(table + ((ulong)ProcessDirectoryIndex.At(process, 0) * ProcessContextOffset.Size), context, FaultAccess.Read) is not { } address
            || !TryRead(context, "2.2.2", address, 2, out ulong[] words))
        {
            return null;
        }

        FaultField[] fields =
        [
            Bit("V", words[0], ProcessTranslationAttributes.ValidBit), Bit("ENS", words[0], ProcessTranslationAttributes.EnableSupervisorBit),
            Field("PSCID", (words[0] >> ProcessTranslationAttributes.PscidShift) & ProcessTranslationAttributes.PscidMask),
            Field("fsc.MODE", (ulong)TablePointer.Mode(words[1])), Field("fsc root", TablePointer.Address(words[1])),
        ];
        if ((words[0] & ProcessTranslationAttributes.ValidBit) == 0)
        {
            Fail(context, "2.2.2.1", address, words, fields, "ta.V is 0: the PASID is not one that the device has been given (cause 266).");
            return null;
        }

        Pass(context, "2.2.2", address, words, fields, "The process context is valid.");
        return words[1];
    }
}
