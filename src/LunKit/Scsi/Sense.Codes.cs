namespace LunKit.Scsi;

/// <summary>The named codes that LunKit reports, in the order of SPC-5 annex F within each key.</summary>
public readonly partial record struct Sense
{
#pragma warning disable CS1591 // The names are T10's.
    public static readonly Sense None = new(SenseKey.NoSense, 0x00, 0x00);
    public static readonly Sense ThinProvisioningSoftThresholdReached = new(SenseKey.UnitAttention, 0x38, 0x07);

    public static readonly Sense BecomingReady = new(SenseKey.NotReady, 0x04, 0x01);
    public static readonly Sense NotReadyInitializingCommandRequired = new(SenseKey.NotReady, 0x04, 0x02);
    public static readonly Sense FormatInProgress = new(SenseKey.NotReady, 0x04, 0x04);
    public static readonly Sense SanitizeInProgress = new(SenseKey.NotReady, 0x04, 0x1B);
    public static readonly Sense TargetPortInTransition = new(SenseKey.NotReady, 0x04, 0x0A);
    public static readonly Sense TargetPortStandby = new(SenseKey.NotReady, 0x04, 0x0B);
    public static readonly Sense TargetPortUnavailable = new(SenseKey.NotReady, 0x04, 0x0C);
    public static readonly Sense LogicalUnitCommunicationFailure = new(SenseKey.NotReady, 0x08, 0x00);
    /// <summary>
    /// How a command ends that may have been carried out, or not, and that must not be carried out twice: LOGICAL UNIT COMMUNICATION FAILURE as
    /// ABORTED COMMAND. The initiator looks.
    /// </summary>
    public static readonly Sense OutcomeUnknown = new(SenseKey.AbortedCommand, 0x08, 0x00);

    public static readonly Sense MediumNotPresent = new(SenseKey.NotReady, 0x3A, 0x00);

    public static readonly Sense WriteError = new(SenseKey.MediumError, 0x0C, 0x00);
    public static readonly Sense UnrecoveredReadError = new(SenseKey.MediumError, 0x11, 0x00);
    public static readonly Sense FormatCommandFailed = new(SenseKey.MediumError, 0x31, 0x01);
    public static readonly Sense SanitizeFailed = new(SenseKey.MediumError, 0x31, 0x03);

    public static readonly Sense InternalTargetFailure = new(SenseKey.HardwareError, 0x44, 0x00);

    public static readonly Sense InvalidFieldInCommandInformationUnit = new(SenseKey.IllegalRequest, 0x0E, 0x03);
    public static readonly Sense ParameterListLengthError = new(SenseKey.IllegalRequest, 0x1A, 0x00);
    public static readonly Sense InvalidOpcode = new(SenseKey.IllegalRequest, 0x20, 0x00);
    public static readonly Sense LbaOutOfRange = new(SenseKey.IllegalRequest, 0x21, 0x00);
    public static readonly Sense InvalidFieldInCdb = new(SenseKey.IllegalRequest, 0x24, 0x00);
    public static readonly Sense LogicalUnitNotSupported = new(SenseKey.IllegalRequest, 0x25, 0x00);
    public static readonly Sense InvalidFieldInParameterList = new(SenseKey.IllegalRequest, 0x26, 0x00);
    public static readonly Sense InvalidReleaseOfPersistentReservation = new(SenseKey.IllegalRequest, 0x26, 0x04);
    public static readonly Sense TooManyTargetDescriptors = new(SenseKey.IllegalRequest, 0x26, 0x06);
    public static readonly Sense UnsupportedTargetDescriptorType = new(SenseKey.IllegalRequest, 0x26, 0x07);
    public static readonly Sense TooManySegmentDescriptors = new(SenseKey.IllegalRequest, 0x26, 0x08);
    public static readonly Sense UnsupportedSegmentDescriptorType = new(SenseKey.IllegalRequest, 0x26, 0x09);
    public static readonly Sense InvalidTokenUnknown = new(SenseKey.IllegalRequest, 0x23, 0x04);
    public static readonly Sense InvalidTokenRevoked = new(SenseKey.IllegalRequest, 0x23, 0x06);
    public static readonly Sense CommandSequenceError = new(SenseKey.IllegalRequest, 0x2C, 0x00);
    public static readonly Sense SavingParametersNotSupported = new(SenseKey.IllegalRequest, 0x39, 0x00);
    public static readonly Sense MediumRemovalPrevented = new(SenseKey.IllegalRequest, 0x53, 0x02);
    public static readonly Sense InsufficientRegistrationResources = new(SenseKey.IllegalRequest, 0x55, 0x04);
    public static readonly Sense InsufficientResources = new(SenseKey.IllegalRequest, 0x55, 0x03);

    public static readonly Sense MediumChanged = new(SenseKey.UnitAttention, 0x28, 0x00);
    public static readonly Sense PowerOnOrReset = new(SenseKey.UnitAttention, 0x29, 0x00);
    public static readonly Sense BusDeviceResetOccurred = new(SenseKey.UnitAttention, 0x29, 0x03);
    public static readonly Sense NexusLossOccurred = new(SenseKey.UnitAttention, 0x29, 0x07);
    public static readonly Sense ModeParametersChanged = new(SenseKey.UnitAttention, 0x2A, 0x01);
    public static readonly Sense LogParametersChanged = new(SenseKey.UnitAttention, 0x2A, 0x02);
    public static readonly Sense ReservationsPreempted = new(SenseKey.UnitAttention, 0x2A, 0x03);
    public static readonly Sense ReservationsReleased = new(SenseKey.UnitAttention, 0x2A, 0x04);
    public static readonly Sense RegistrationsPreempted = new(SenseKey.UnitAttention, 0x2A, 0x05);
    public static readonly Sense AsymmetricAccessStateChanged = new(SenseKey.UnitAttention, 0x2A, 0x06);
    public static readonly Sense CapacityChanged = new(SenseKey.UnitAttention, 0x2A, 0x09);
    public static readonly Sense CommandsClearedByAnotherInitiator = new(SenseKey.UnitAttention, 0x2F, 0x00);
    public static readonly Sense MicrocodeChanged = new(SenseKey.UnitAttention, 0x3F, 0x01);
    public static readonly Sense InquiryDataChanged = new(SenseKey.UnitAttention, 0x3F, 0x03);
    public static readonly Sense ReportedLunsChanged = new(SenseKey.UnitAttention, 0x3F, 0x0E);
    public static readonly Sense IdentifyingInformationChanged = new(SenseKey.UnitAttention, 0x3F, 0x06);

    public static readonly Sense WriteProtected = new(SenseKey.DataProtect, 0x27, 0x00);
    public static readonly Sense SoftwareWriteProtected = new(SenseKey.DataProtect, 0x27, 0x02);
    public static readonly Sense SpaceAllocationFailed = new(SenseKey.DataProtect, 0x27, 0x07);

    public static readonly Sense CopyTargetUnreachable = new(SenseKey.CopyAborted, 0x0D, 0x02);
    public static readonly Sense CopySegmentFailed = new(SenseKey.CopyAborted, 0x00, 0x00);
    public static readonly Sense UnexpectedInexactSegment = new(SenseKey.CopyAborted, 0x26, 0x0A);

    public static readonly Sense DataPhaseError = new(SenseKey.AbortedCommand, 0x4B, 0x00);
    public static readonly Sense UnexpectedUnsolicitedData = new(SenseKey.AbortedCommand, 0x0C, 0x0C);
    public static readonly Sense NotEnoughUnsolicitedData = new(SenseKey.AbortedCommand, 0x0C, 0x0D);
    public static readonly Sense ProtocolServiceCrcError = new(SenseKey.AbortedCommand, 0x47, 0x05);
    public static readonly Sense CommandAborted = new(SenseKey.AbortedCommand, 0x00, 0x00);

    public static readonly Sense MiscompareDuringVerify = new(SenseKey.Miscompare, 0x1D, 0x00);
#pragma warning restore CS1591
}
