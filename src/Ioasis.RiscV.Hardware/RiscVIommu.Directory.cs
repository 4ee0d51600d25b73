using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Hardware;

/// <content>Device and process directories (sections 2.1, 2.2, 2.3.1, 2.3.2).</content>
public sealed partial class RiscVIommu
{
    /// <summary>The process to locate the device-context (section 2.3.1). A failure is in <c>request.Cause</c>.</summary>
    private bool WalkDeviceDirectory(Configuration configuration, ref Request request, out DeviceContextData context)
    {
        context = default;
        bool extended = _capabilities.MsiFlat;
        ulong table = configuration.DirectoryRoot;
        int level = (int)configuration.Mode - (int)IommuMode.OneLevel;
        StartDeviceWalk(request, ref level, ref table);
        for (; level > 0; level--)
        {
            if (!ReadDeviceDirectoryEntry(configuration, ref request, level, ref table))
            {
                return false;
            }

            RememberDeviceTable(request, level, table);
        }

        CountEvent(request, HpmEvent.DeviceDirectoryWalk);
        int size = extended ? 8 : 4;
        Span<ulong> words = stackalloc ulong[8];
        ulong address = table + ((ulong)DeviceDirectoryIndex.At(request.DeviceId, 0, extended) * (ulong)size * 8);
        request.MemoryReads++;
        if (!DirectoryRead(ref request, ReadDoublewords(address, configuration.BigEndian, words[..size])))
        {
            return false;
        }

        words[size..].Clear();
        context = new(words);

        if (!context.Has(DeviceTranslationControl.ValidBit))
        {
            request.Cause = FaultCause.DdtEntryNotValid;
            return false;
        }

        RememberDevice(request, context);
        if (IsMisconfigured(configuration, context))
        {
            request.Cause = FaultCause.DdtEntryMisconfigured;
            return false;
        }

        return true;
    }

    private bool ReadDeviceDirectoryEntry(Configuration configuration, ref Request request, int level, ref ulong table)
    {
        CountEvent(request, HpmEvent.DeviceDirectoryWalk);
        ulong address = table + ((ulong)DeviceDirectoryIndex.At(request.DeviceId, level, _capabilities.MsiFlat) * DirectoryEntry.Size);
        request.MemoryReads++;
        if (!DirectoryRead(ref request, ReadDoubleword(address, configuration.BigEndian, out ulong entry)))
        {
            return false;
        }

        if ((entry & DirectoryEntry.ValidBit) == 0)
        {
            request.Cause = FaultCause.DdtEntryNotValid;
            return false;
        }

        if ((entry & DirectoryEntry.ReservedMask) != 0)
        {
            request.Cause = FaultCause.DdtEntryMisconfigured;
            return false;
        }

        table = PpnField.ToAddress(entry);
        return true;
    }

    private static bool DirectoryRead(ref Request request, MemoryStatus status)
    {
        request.Cause = status switch
        {
            MemoryStatus.AccessFault => FaultCause.DdtEntryLoadAccessFault,
            MemoryStatus.DataCorruption => FaultCause.DdtDataCorruption,
            _ => request.Cause,
        };
        return status == MemoryStatus.Success;
    }

    // Device-context configuration checks (section 2.1.4), in the specification's order.
    private bool IsMisconfigured(Configuration configuration, in DeviceContextData context)
    {
        bool ats = context.Has(DeviceTranslationControl.EnableAtsBit);
        bool pri = context.Has(DeviceTranslationControl.EnablePriBit);
        bool prpr = context.Has(DeviceTranslationControl.PrgResponsePasidRequiredBit);
        bool t2gpa = context.Has(DeviceTranslationControl.T2gpaBit);
        bool sxl = context.Has(DeviceTranslationControl.SxlBit);
        bool sbe = context.Has(DeviceTranslationControl.FirstStageBigEndianBit);
        bool pdtv = context.Has(DeviceTranslationControl.PdtValidBit);
        ulong rcid = (context.TranslationAttributes >> DeviceTranslationAttributes.RcidShift) & DeviceTranslationAttributes.QosMask;
        ulong mcid = (context.TranslationAttributes >> DeviceTranslationAttributes.McidShift) & DeviceTranslationAttributes.QosMask;

        if (context.Has(DeviceTranslationControl.ReservedMask)
            || (context.TranslationAttributes & DeviceTranslationAttributes.ReservedMask) != 0
            || (context.FirstStageContext & TablePointer.ReservedMask) != 0
            || (!_capabilities.QosId && (rcid | mcid) != 0)
            || (!_capabilities.Ats && (ats || pri || prpr))
            || (!ats && (t2gpa || pri))
            || (!pri && prpr)
            || (t2gpa && (!_capabilities.T2gpa || !context.HasSecondStage)))
        {
            return true;
        }

        bool badFirstStage = pdtv
            ? !IsSupportedProcessDirectory(TablePointer.Mode(context.FirstStageContext))
            : !IsSupportedFirstStage(TablePointer.Mode(context.FirstStageContext), sxl)
                || context.Has(DeviceTranslationControl.DefaultProcessBit);
        if (badFirstStage || !IsSupportedSecondStage(TablePointer.Mode(context.Iohgatp), configuration.Gxl))
        {
            return true;
        }

        if (_capabilities.MsiFlat)
        {
            int mode = TablePointer.Mode(context.Msiptp);
            if (mode > Msiptp.ModeFlat || (mode != Msiptp.ModeOff && !context.HasSecondStage)
                || (context.Msiptp & TablePointer.ReservedMask) != 0
                || ((context.MsiAddressMask | context.MsiAddressPattern) & ~Msiptp.PatternMask) != 0
                || context.Reserved != 0)
            {
                return true;
            }
        }

        bool wideQos = _capabilities.QosId
            && ((rcid & ~(ulong)(Options.QosIdMask & 0xffff)) != 0 || (mcid & ~(ulong)(Options.QosIdMask >> 16)) != 0);
        return (context.HasSecondStage && (context.Iohgatp & 3) != 0)
            || (!_capabilities.AmoHwad && context.Has(
                DeviceTranslationControl.FirstStageAdUpdateBit | DeviceTranslationControl.SecondStageAdUpdateBit))
            || ((!_capabilities.End || !_bigEndianWritable) && configuration.BigEndian != sbe)
            || (configuration.Gxl ? !sxl : sxl && !Options.GxlWritable)
            || wideQos;
    }

    private bool IsSupportedProcessDirectory(int mode) => mode switch
    {
        Pdtp.ModeBare => true,
        Pdtp.ModePd8 => _capabilities.Pd8,
        Pdtp.ModePd17 => _capabilities.Pd17,
        Pdtp.ModePd20 => _capabilities.Pd20,
        _ => false,
    };

    private bool IsSupportedFirstStage(int mode, bool sxl) => mode switch
    {
        Iosatp.ModeBare => true,
        Iosatp.ModeSv39 => sxl ? _capabilities.Sv32 : _capabilities.Sv39,
        Iosatp.ModeSv48 => !sxl && _capabilities.Sv48,
        Iosatp.ModeSv57 => !sxl && _capabilities.Sv57,
        _ => false,
    };

    private bool IsSupportedSecondStage(int mode, bool gxl) => mode switch
    {
        Iohgatp.ModeBare => true,
        Iohgatp.ModeSv39x4 => gxl ? _capabilities.Sv32x4 : _capabilities.Sv39x4,
        Iohgatp.ModeSv48x4 => !gxl && _capabilities.Sv48x4,
        Iohgatp.ModeSv57x4 => !gxl && _capabilities.Sv57x4,
        _ => false,
    };

    // The device_id is wider than the directory (step 5 of section 2.3).
    // The device_id of a requester; what has more than 32 bits stays too wide.
    private static uint DeviceIdOf(DeviceId device) => (uint)device.Value | (device.Value > uint.MaxValue ? ~MaxDeviceId : 0);

    private bool IsTooWide(Configuration configuration, uint deviceId)
    {
        int levels = (int)configuration.Mode - (int)IommuMode.OneLevel + 1;
        int leafBits = _capabilities.MsiFlat ? 6 : 7;
        return deviceId > MaxDeviceId || (levels < 3 && deviceId >> (leafBits + ((levels - 1) * 9)) != 0);
    }

    /// <summary>The process to locate the process-context (section 2.3.2). A failure is in <c>request.Cause</c>.</summary>
    private bool WalkProcessDirectory(
        Configuration configuration, ref Request request, in DeviceContextData device, out ProcessContextData context)
    {
        context = default;
        ulong table = TablePointer.Address(device.FirstStageContext);
        int level = TablePointer.Mode(device.FirstStageContext) - 1;
        StartProcessWalk(request, ref level, ref table);
        for (; level > 0; level--)
        {
            if (!ReadProcessDirectoryEntry(configuration, ref request, device, level, ref table))
            {
                return false;
            }

            RememberProcessTable(request, level, table);
        }

        ulong address = table + ((ulong)ProcessDirectoryIndex.At(request.ProcessId, 0) * ProcessContextOffset.Size);
        if (!TranslateProcessDirectoryAddress(configuration, ref request, device, ref address))
        {
            return false;
        }

        CountEvent(request, HpmEvent.ProcessDirectoryWalk);
        request.MemoryReads++;
        Span<ulong> words = stackalloc ulong[2];
        MemoryStatus status = ReadDoublewords(
            address, device.Has(DeviceTranslationControl.FirstStageBigEndianBit), words);
        if (!ProcessRead(ref request, status))
        {
            return false;
        }

        context = new() { TranslationAttributes = words[0], FirstStageContext = words[1] };

        if (!context.Has(ProcessTranslationAttributes.ValidBit))
        {
            request.Cause = FaultCause.PdtEntryNotValid;
            return false;
        }

        RememberProcess(request, context);
        return !IsMisconfigured(device, context) || Fail(ref request, FaultCause.PdtEntryMisconfigured);
    }

    // Process-context configuration checks (section 2.2.4).
    private bool IsMisconfigured(in DeviceContextData device, in ProcessContextData context) =>
        context.Has(ProcessTranslationAttributes.ReservedMask)
        || (context.FirstStageContext & TablePointer.ReservedMask) != 0
        || !IsSupportedFirstStage(TablePointer.Mode(context.FirstStageContext), device.Has(DeviceTranslationControl.SxlBit));

    private bool ReadProcessDirectoryEntry(
        Configuration configuration, ref Request request, in DeviceContextData device, int level, ref ulong table)
    {
        ulong address = table + ((ulong)ProcessDirectoryIndex.At(request.ProcessId, level) * DirectoryEntry.Size);
        if (!TranslateProcessDirectoryAddress(configuration, ref request, device, ref address))
        {
            return false;
        }

        CountEvent(request, HpmEvent.ProcessDirectoryWalk);
        request.MemoryReads++;
        MemoryStatus status = ReadDoubleword(
            address, device.Has(DeviceTranslationControl.FirstStageBigEndianBit), out ulong entry);
        if (!ProcessRead(ref request, status))
        {
            return false;
        }

        if ((entry & DirectoryEntry.ValidBit) == 0)
        {
            request.Cause = FaultCause.PdtEntryNotValid;
            return false;
        }

        if ((entry & DirectoryEntry.ReservedMask) != 0)
        {
            request.Cause = FaultCause.PdtEntryMisconfigured;
            return false;
        }

        table = PpnField.ToAddress(entry);
        return true;
    }

    // With a second stage the directory is in guest memory; guest-page faults are those of the original access.
    private bool TranslateProcessDirectoryAddress(
        Configuration configuration, ref Request request, in DeviceContextData device, ref ulong address)
    {
        if (!device.HasSecondStage)
        {
            return true;
        }

        request.HasGscid = true;
        request.Gscid = device.Gscid;
        SecondStageAccess access = new() { IsRead = true, CheckPermissions = true };
        switch (WalkSecondStage(configuration, ref request, device, address, access, out Leaf leaf))
        {
            case StageStatus.Success:
                address = leaf.Address;
                return true;
            case StageStatus.AccessFault:
                request.Cause = FaultCause.PdtEntryLoadAccessFault;
                return false;
            case StageStatus.DataCorruption:
                request.Cause = FaultCause.PdtDataCorruption;
                return false;
            default:
                request.Cause = GuestPageFault(request);
                request.Iotval2 = (address & ~3ul) | FaultRecord.ImplicitBit;
                return false;
        }
    }

    private static bool ProcessRead(ref Request request, MemoryStatus status)
    {
        request.Cause = status switch
        {
            MemoryStatus.AccessFault => FaultCause.PdtEntryLoadAccessFault,
            MemoryStatus.DataCorruption => FaultCause.PdtDataCorruption,
            _ => request.Cause,
        };
        return status == MemoryStatus.Success;
    }
}
