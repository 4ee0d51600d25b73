using Ioasis.Platform;
using Ioasis.Primitives;
using Ioasis.RiscV.Architecture;

namespace Ioasis.RiscV.Driver;

/// <content>
/// What stands in contexts, and how it gets there: each write is single-copy atomic and they are seen in order; V is written last
/// and cleared first.
/// </content>
internal sealed partial class RiscVIommuInstance
{
    // Hardware that can set A and D may do so everywhere: leaves that are not to be tracked have both already.
    private ulong AdControl => _capabilities.AmoHwad
        ? DeviceTranslationControl.FirstStageAdUpdateBit | DeviceTranslationControl.SecondStageAdUpdateBit
        : 0;

    // The device context for a target: that of the process directory, unless the target has a second stage.
    private DeviceContextImage ImageOf(DeviceState state, in ContextTarget target)
    {
        if (!target.IsOnDevice && state.Processes is { } processes)
        {
            return new(
                DeviceTranslationControl.ValidBit | DeviceTranslationControl.PdtValidBit
                    | DeviceTranslationControl.DefaultProcessBit | AtsControl(state) | AdControl,
                0, 0, processes.Pointer, 0, 0, 0);
        }

        if (!target.IsValid)
        {
            return default;
        }

        ulong control = DeviceTranslationControl.ValidBit | AtsControl(state) | AdControl;
        if (target.Guest is { } guest)
        {
            // Whether the hardware updates the guest's tables is the guest's to say.
            control = (control & ~DeviceTranslationControl.FirstStageAdUpdateBit) | guest.Domain.Control;
        }

        ulong attributes = (ulong)target.Pscid << DeviceTranslationAttributes.PscidShift;
        if (target.SecondStage is not { } second)
        {
            return new(control, 0, attributes, target.FirstStage, 0, 0, 0);
        }

        ulong secondStage = second.Pointer | ((ulong)target.Bond!.Tag.Identifier << Iohgatp.GscidShift);
        return second.Msi is { } msi
            ? new(control, secondStage, attributes, target.FirstStage, msi.Pointer, msi.Files.Mask, msi.Files.Pattern)
            : new(control, secondStage, attributes, target.FirstStage, 0, 0, 0);
    }

    private Errno WriteDeviceContext(PhysicalAddress context, in DeviceContextImage image)
    {
        bool written = Store(context + DeviceContextOffset.TranslationControl, 0);
        if (image.Control == 0)
        {
            return written ? Errno.Success : Errno.IoError;
        }

        int size = _capabilities.MsiFlat ? DeviceContextOffset.Reserved : DeviceContextOffset.MsiPageTablePointer;
        for (int offset = DeviceContextOffset.Iohgatp; offset < size && written; offset += 8)
        {
            written = Store(context + (ulong)offset, image[offset / 8]);
        }

        written = written && Store(context + DeviceContextOffset.TranslationControl, image.Control);
        return written ? Errno.Success : Errno.IoError;
    }

    private Errno WriteProcessContext(PhysicalAddress context, in ContextTarget target)
    {
        bool written = Store(context + ProcessContextOffset.TranslationAttributes, 0);
        if (written && target.IsValid)
        {
            written = Store(context + ProcessContextOffset.FirstStageContext, target.FirstStage)
                && Store(
                    context + ProcessContextOffset.TranslationAttributes,
                    ((ulong)target.Pscid << ProcessTranslationAttributes.PscidShift) | ProcessTranslationAttributes.ValidBit);
        }

        return written ? Errno.Success : Errno.IoError;
    }

    // The device context of a device with a process directory, which gives out what the directory says.
    private Errno WriteDirectoryContext(DeviceState state)
    {
        Errno error = WriteDeviceContext(state.Context, ImageOf(state, ContextTarget.Blocked));
        return error == Errno.Success ? _commands!.SubmitAndWait([Command.InvalidateDeviceDirectory(state.Id)]) : error;
    }

    private static ulong AtsControl(DeviceState state)
    {
        bool requests = state.HasAts && state.Device.PageRequests;
        return (state.HasAts ? DeviceTranslationControl.EnableAtsBit : 0)
            | (requests ? DeviceTranslationControl.EnablePriBit : 0)
            | (requests && state.Device.PageResponsesNeedPasid ? DeviceTranslationControl.PrgResponsePasidRequiredBit : 0);
    }

    private bool Store(PhysicalAddress address, ulong value) => _memory.Write64(address, value) == MemoryStatus.Success;
}
